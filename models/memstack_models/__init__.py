"""A Memorizing Transformer (arXiv 2203.08913) that never knows which memory backend it calls."""
