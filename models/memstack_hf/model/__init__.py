"""What a model of transformers does, and the way into it."""
