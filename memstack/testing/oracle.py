"""The oracle: a memory of plain Python lists, too simple to be wrong, that every backend is compared with."""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import NamedTuple

import torch
from torch import Tensor

from memstack.contract.shape import MemoryShape
from memstack.contract.validation import Padded


class Entry(NamedTuple):
    """One stored pair and when it came: its insertion number since the row's last reset."""

    position: int
    key: list[float]
    value: list[float]


class Oracle:
    """What a memory should hold. Tensors are only taken in and handed out; inside are lists of numbers."""

    def __init__(self, shape: MemoryShape, eight_bits: bool = False) -> None:
        self.shape = shape
        self.kept = in_eight_bits if eight_bits else list[float]
        self.written = [0] * shape.rows
        self.entries: list[list[list[Entry]]] = [[[] for _ in range(shape.heads)] for _ in range(shape.rows)]

    @property
    def lengths(self) -> list[int]:
        """How many live entries each memory of a row holds."""
        return [len(heads[0]) for heads in self.entries]

    def add(self, keys: Tensor, values: Tensor, lengths: Sequence[int] | None = None, padded: Padded = "right") -> None:
        """Append (rows, heads, n, dim) pairs, of each row so many; beyond the capacity the old end is sliced off."""
        n = keys.shape[2]
        counts = [n] * self.shape.rows if lengths is None else lengths
        for row, head in itertools.product(range(self.shape.rows), range(self.shape.heads)):
            given = slice(counts[row]) if padded == "right" else slice(n - counts[row], n)
            pairs = zip(keys[row, head, given].tolist(), values[row, head, given].tolist(), strict=True)
            new = [
                Entry(self.written[row] + age, self.kept(key), self.kept(value))
                for age, (key, value) in enumerate(pairs)
            ]
            self.entries[row][head] = (self.entries[row][head] + new)[-self.shape.capacity :]
        self.written = [before + count for before, count in zip(self.written, counts, strict=True)]

    def reset(self, rows: Sequence[bool]) -> None:
        """Forget the rows that are True."""
        for row in range(self.shape.rows):
            if rows[row]:
                self.written[row] = 0
                self.entries[row] = [[] for _ in range(self.shape.heads)]

    def select(self, rows: Sequence[int]) -> None:
        """Let each row hold what another one held."""
        self.written = [self.written[row] for row in rows]
        self.entries = [[list(head) for head in self.entries[row]] for row in rows]

    def copy(self) -> "Oracle":
        """Return an oracle that holds the same and goes its own way; entries are never written to."""
        made = copy.copy(self)
        made.written = list(self.written)
        made.entries = [[list(head) for head in heads] for heads in self.entries]
        return made

    def search(self, query: Sequence[float], row: int, head: int, k: int) -> list[tuple[float, int]]:
        """Return (score, position) of the k best entries of one memory, best first."""
        scored = [(inner_product(query, entry.key), entry.position) for entry in self.entries[row][head]]
        return sorted(scored, reverse=True)[:k]

    def find(self, row: int, head: int, position: int) -> Entry | None:
        """Return the entry that came at this position, if it is still held."""
        return next((entry for entry in self.entries[row][head] if entry.position == position), None)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state that any memory of this shape holding the same entries should save."""
        longest = max(self.lengths)

        def padded(field: str, dim: int) -> Tensor:
            rows = [
                [[getattr(entry, field) for entry in head] + [[0.0] * dim] * (longest - len(head)) for head in heads]
                for heads in self.entries
            ]
            return torch.tensor(rows, dtype=torch.float32, device="cpu").view(
                self.shape.rows, self.shape.heads, longest, dim
            )

        return {
            "keys": padded("key", self.shape.key_dim),
            "values": padded("value", self.shape.value_dim),
            "written": torch.tensor(self.written, dtype=torch.int64, device="cpu"),
            "shape": torch.tensor(astuple(self.shape), dtype=torch.int64, device="cpu"),
            "format": torch.tensor(1, dtype=torch.int64, device="cpu"),
        }


def in_eight_bits(vector: Sequence[float]) -> list[float]:
    """Round a vector as a store in int8 does: to multiples of 1/127 of its largest number, itself rounded to bfloat16.

    A vector that is not finite is kept; of one that is finite only in parts, more is lost than here.
    """
    largest = max(map(abs, vector))
    scale = torch.tensor(largest / 127, dtype=torch.float32, device="cpu").bfloat16().item()
    return [round(number / scale) * scale for number in vector] if 0 < scale < math.inf else list(vector)


def inner_product(left: Sequence[float], right: Sequence[float]) -> float:
    """Multiply and sum, in Python's double precision."""
    return sum(a * b for a, b in zip(left, right, strict=True))
