"""Wrappers round any memory: one times its verbs, one measures the recall of its answers, one keeps them."""
