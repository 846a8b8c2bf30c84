"""The mistakes that training and evaluation can be told about, one class each; messages are one line with the mend."""

from memstack.contract.errors import MemstackError


class DivergedError(MemstackError, ArithmeticError):
    """Training produced a loss or a gradient that is not a number."""


class RunFolderError(MemstackError, ValueError):
    """A run folder holds something else than what was asked of it."""
