"""Plugins: hooks, records, the registry that finds them, and the configuration they are chosen by."""
