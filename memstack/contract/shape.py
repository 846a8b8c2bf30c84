"""MemoryShape: how many memories there are, and how large they are."""

from dataclasses import asdict, dataclass

from memstack.contract.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class MemoryShape:
    """How many independent memories there are and what fits into each.

    ``rows`` documents are read side by side, each with one memory per head; every one of these rows x heads memories
    holds up to ``capacity`` pairs of a key (``key_dim``) and a value (``value_dim``).
    """

    rows: int
    heads: int
    key_dim: int
    value_dim: int
    capacity: int

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ShapeError(f"{name} should be a whole number of at least 1, got {size!r}")
