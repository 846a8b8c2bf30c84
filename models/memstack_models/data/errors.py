"""What can be wrong with documents; the message is one line with the mend."""

from memstack.contract.errors import MemstackError


class CorpusError(MemstackError, ValueError):
    """Documents, or a tokeniser for them, cannot be used."""
