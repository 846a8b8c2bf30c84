"""Memories compared on a trained model: perplexity, recall, times."""
