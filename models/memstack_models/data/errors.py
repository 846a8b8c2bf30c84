"""What can be wrong with what was saved; the message is one line with the mend."""

from memstack import MemstackError


class CheckpointError(MemstackError, ValueError):
    """A checkpoint, or a part of one, is missing, damaged or of another shape."""
