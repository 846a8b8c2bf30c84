"""The store that memories share: a ring of keys and values, read in place."""
