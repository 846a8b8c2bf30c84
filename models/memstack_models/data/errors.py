"""What can be wrong with what is read, documents or checkpoints; messages are one line with the mend."""

from memstack.contract.errors import MemstackError


class CorpusError(MemstackError, ValueError):
    """Documents, or a tokeniser for them, cannot be used."""


class CheckpointError(MemstackError, ValueError):
    """A checkpoint, or a part of one, is missing, damaged or of another shape."""
