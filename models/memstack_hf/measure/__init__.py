"""What a memory of a model is good for, measured."""
