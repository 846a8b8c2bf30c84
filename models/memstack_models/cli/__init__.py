"""The commands that the models add to the command line."""
