"""What the ranks say to each other before they exchange anything: that all are about to do the same, or why one is not.

Input that one rank refuses is refused by all of them, with the same error, before anything is written.
"""

import builtins
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from memstack.contract import errors
from memstack.contract.errors import MemstackError, ShapeError, ShardError, cut
from memstack.wrappers.sharded.group import ShardGroup

VERBS = ("add", "check_add", "search", "reset", "select", "state_dict", "load_state_dict", "dot", "mix", "read")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
HEAD, SIZES = 4, 4
"""Whole numbers of a word: what is done, and how much of it; the rest is a count for each row."""
LONGEST = 1024
"""Bytes of an error's text that are sent."""


class Call(NamedTuple):
    """What a rank is about to do."""

    verb: str
    memory: int
    """The number of the memory in its group."""
    serial: int
    """Of the memory's changes, or of the search that an answer is of."""
    rows: int
    resumes: bool = False
    """Whether the ranks are in step after it, whatever the changes were."""


class Told(NamedTuple):
    """What else a rank says of a call: a whole number for each row, and some that depend on the verb."""

    counts: Int[Tensor, " rows"] | None = None
    sizes: tuple[int, ...] = ()


class Words:
    """What each rank said."""

    def __init__(self, group: ShardGroup, said: Int[Tensor, "shards numbers"]) -> None:
        self._group = group
        self._heads: list[list[int]] = said[:, :HEAD].tolist()
        self.sizes: list[list[int]] = said[:, HEAD : HEAD + SIZES].tolist()
        self.counts: Int[Tensor, "shards rows"] = said[:, HEAD + SIZES :]

    @property
    def own_counts(self) -> Int[Tensor, " rows"]:
        """What this rank said of each row."""
        return self.counts[self._group.rank]

    @property
    def latest(self) -> int:
        """The largest serial number."""
        return max(serial for _, _, serial, _ in self._heads)

    def most(self, place: int) -> int:
        """The largest of a size that may differ."""
        return max(sizes[place] for sizes in self.sizes)

    def check_same(self, what: str, told: Sequence[object]) -> None:
        """Raise ShapeError, the same on all ranks, unless all said the same."""
        if any(each != told[0] for each in told):
            raise ShapeError(f"{what} should be the same on all ranks, got {self._by_rank(told)}")

    def check_alike(self, resumes: bool) -> None:
        """Raise ShardError, the same on all ranks, unless all are about to do the same."""
        calls = [
            f"{VERBS[verb]} of memory {memory}" + ("" if resumes else f" at {serial}")
            for verb, memory, serial, _ in self._heads
        ]
        if len(set(calls)) > 1:
            raise ShardError(
                f"{self._group} is out of step ({self._by_rank(calls)}): all ranks have to make the same calls in the "
                "same order; reset all rows, or load the last saved state, on every rank"
            )

    def raise_refusals(self, refused: Exception | None) -> None:
        """Raise on all ranks what the first rank raised that refused what it was given."""
        refusing = [bool(flag) for *_, flag in self._heads]
        if not any(refusing):
            return
        told = self._group.gather(_as_text(refused))
        texts = [bytes(each.tolist()).rstrip(b"\0").decode(errors="replace") for each in told]
        first = refusing.index(True)
        name, _, message = texts[first].partition(":")
        where = "" if len(set(texts)) == 1 else f"rank {self._group.ranks[first]}: "
        raise _error(name, f"{where}{message}") from refused

    def _by_rank(self, told: Sequence[object]) -> str:
        return "; ".join(f"rank {rank}: {each}" for rank, each in zip(self._group.ranks, told, strict=True))


def agree(group: ShardGroup, call: Call, check: Callable[[], Told]) -> Words:
    """Check what this rank was given, and tell all ranks how that went and what ``check`` returns of it.

    What it raises on one rank is raised on all. ShardError where ranks are about to do different things.
    """
    group.check_usable()
    refused: Exception | None = None
    told = Told()
    try:
        told = check()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below, on all ranks
        refused = error
    counts = torch.zeros(call.rows, dtype=torch.int64, device="cpu") if told.counts is None else told.counts
    head = [VERBS.index(call.verb), call.memory, call.serial, int(refused is not None)]
    said = torch.tensor([*head, *told.sizes, *[0] * (SIZES - len(told.sizes))], dtype=torch.int64, device="cpu")
    words = Words(group, group.gather(torch.cat([said, counts.to("cpu", torch.int64)])))
    words.check_alike(call.resumes)
    words.raise_refusals(refused)
    return words


def dtype_number(tensor: Tensor) -> int:
    """Return the number that stands for a tensor's dtype; ShapeError for one that does not travel."""
    if tensor.dtype not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        raise ShapeError(f"a memory on several ranks is asked in one of {known}, got {tensor.dtype}")
    return DTYPES.index(tensor.dtype)


def _as_text(refused: Exception | None) -> Int[Tensor, " bytes"]:
    """An error as bytes, of the same number whatever it is."""
    text = "" if refused is None else f"{type(refused).__name__}:{cut(str(refused), LONGEST // 2)}"
    written = text.encode(errors="replace")[:LONGEST]
    return torch.tensor(list(written.ljust(LONGEST, b"\0")), dtype=torch.uint8, device="cpu")


def _error(name: str, message: str) -> Exception:
    """An error of the class that another rank raised, where both have it by that name."""
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, (MemstackError, ValueError, TypeError, RuntimeError, OSError)):
        return kind(message)
    return MemstackError(f"{name}: {message}")
