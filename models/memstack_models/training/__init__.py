"""The training step, what it needs, and what it keeps in a run folder."""
