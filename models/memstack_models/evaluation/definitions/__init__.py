"""How often the use of a name retrieves its definition."""
