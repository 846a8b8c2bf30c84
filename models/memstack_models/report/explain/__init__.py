"""The page of where memory helps."""
