"""Documents, tokens, and the reader that gives them row by row."""
