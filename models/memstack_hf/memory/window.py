"""WindowCache: what a model has in sight, row by row: the first tokens, the last ones and the segment at hand.

Rows differ in length, so columns are no positions: every row's tokens lie in order in the columns that are ``valid``
for it. transformers makes its masks from column numbers and validity, which is right for any padding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

Turned = Callable[[int, Tensor, Tensor], Tensor]
"""(layer, keys, offsets) -> the layer's keys, turned by so many positions."""


@dataclass
class Leaving:
    """What has left the window, oldest first and padded at the right."""

    pairs: dict[int, tuple[Tensor, Tensor]]
    """By layer: keys, as they are kept in the window, and values, (rows, heads, n, dim)."""
    counts: Int[Tensor, " rows"]
    """How many of them each row has."""


@dataclass(frozen=True)
class WindowState:
    """Everything in sight at one time; its tensors are never written into."""

    seen: Int[Tensor, " rows"]
    kept: Int[Tensor, " rows"]
    valid: Bool[Tensor, "rows columns"] | None
    read: int
    columns: int
    layers: tuple[tuple[Tensor, Tensor] | None, ...]
    """Keys and values by layer; None before anything was read."""


class WindowLayer(DynamicLayer):
    """One layer's keys and values: what is kept, and what the forward at hand has added."""

    is_croppable = False

    def __init__(self, cache: "WindowCache") -> None:
        super().__init__()
        self._cache = cache
        self.new: tuple[Tensor, Tensor] | None = None
        self.placed: Tensor | None = None
        """The kept keys where they stand for the next query, if they are not kept so."""
        self.new_placed: Tensor | None = None

    @property
    def pair(self) -> tuple[Tensor, Tensor] | None:
        """Keys and values that are kept; None if there are none."""
        return None if self.keys is None or self.values is None or not self.keys.numel() else (self.keys, self.values)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.new = key_states, value_states  # assigned, so that a recomputation changes nothing
        if self.pair is None:
            return key_states, value_states
        return torch.cat([self.pair[0], key_states], 2), torch.cat([self.pair[1], value_states], 2)

    def settle(self) -> None:
        """Count what is new among what is kept."""
        assert self.new is not None
        keys, values = (part.detach() for part in self.new)
        if self.pair is not None:
            keys, values = torch.cat([self.pair[0], keys], 2), torch.cat([self.pair[1], values], 2)
        self.placed = (
            None if self.placed is None or self.new_placed is None else torch.cat([self.placed, self.new_placed], 2)
        )
        self.keys, self.values, self.new, self.new_placed = keys, values, None, None

    def take(self, divide: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Keep the first of the two parts that keys and values are divided into, and return the second."""
        assert self.pair is not None
        (keys, leaving_keys), (values, leaving_values) = (divide(part) for part in self.pair)
        self.keys, self.values, self.placed = keys, values, None
        return leaving_keys, leaving_values

    def get_seq_length(self) -> int:
        return self._cache.read

    def get_mask_sizes(self, query_length: int | Tensor) -> tuple[int, int]:
        new = len(query_length) if isinstance(query_length, Tensor) else query_length  # their places, in older versions
        return self._cache.columns + new, 0

    def reset(self) -> None:
        self.keys = self.values = self.new = self.placed = self.new_placed = None
        self.is_initialized = False


class WindowCache(Cache):
    """The window of all layers. Counts are on the CPU, one per row."""

    def __init__(self, layers: int, sinks: int, window: int, segment: int, reorder: Callable[[Tensor], None]) -> None:
        self.each = [WindowLayer(self) for _ in range(layers)]
        super().__init__(layers=[*self.each])
        self.sinks, self.window, self.segment, self._reorder = sinks, window, segment, reorder
        self.clear(0)

    def clear(self, rows: int) -> None:
        """Forget everything, and have so many rows."""
        for layer in self.each:
            layer.reset()
        self.read, self.columns = 0, 0
        self.seen, self.kept = (torch.zeros(rows, dtype=torch.int64, device="cpu") for _ in range(2))
        self.valid: Bool[Tensor, "rows columns"] | None = None
        self.new: tuple[int, Bool[Tensor, "rows n"] | None] | None = None

    @property
    def removed(self) -> Int[Tensor, " rows"]:
        """How many tokens have left each row's window."""
        return self.seen - self.kept

    # A forward ------------------------------------------------------------------------------------------------------

    def begin(self, n: int, valid: Bool[Tensor, "rows n"] | None) -> tuple[Int[Tensor, "rows n"], Tensor | None]:
        """Expect n new columns: the positions of their tokens, and the mask of all columns if there is any padding."""
        rows = len(self.seen)
        self.new = n, valid
        within = torch.arange(n, dtype=torch.int64, device="cpu").expand(rows, n)
        if valid is not None:
            within = (valid.cumsum(1) - 1).clamp(min=0)
        positions = self.seen[:, None] + within
        return positions, self._valid_with(n, valid)

    def _valid_with(self, n: int, valid: Bool[Tensor, "rows n"] | None) -> Bool[Tensor, "rows columns"] | None:
        """Which of all columns hold a token, n new ones included; None if all do."""
        if valid is None and self.valid is None:
            return None
        old, new = (
            torch.ones(len(self.seen), size, dtype=torch.bool, device="cpu") if part is None else part
            for part, size in ((self.valid, self.columns), (valid, n))
        )
        return torch.cat([old, new], 1)

    def expected(self) -> Int[Tensor, " rows"]:
        """How many tokens of each row the forward at hand adds."""
        assert self.new is not None
        n, valid = self.new
        return torch.full_like(self.seen, n) if valid is None else valid.sum(1)

    def settle(self, everything: bool = False) -> Leaving | None:
        """Count what the last forward added, and take out what leaves; one that failed on its way added nothing."""
        if self.new is None:
            return None
        counts = self.expected()
        (n, valid), self.new = self.new, None
        if any(layer.new is None or layer.new[0].shape[2] != n for layer in self.each):
            for layer in self.each:
                layer.new = layer.new_placed = None
            return None
        for layer in self.each:
            layer.settle()
        self.valid = self._valid_with(n, valid)
        self.read, self.columns = self.read + n, self.columns + n
        self.seen, self.kept = self.seen + counts, self.kept + counts
        return self._take_out(everything)

    def _take_out(self, everything: bool) -> Leaving | None:
        full = self.kept >= self.window + self.segment
        leaving = torch.where(full, self.kept - self.sinks - self.window, 0).clamp(min=0)
        leaving = (self.kept - self.sinks).clamp(min=0) if everything else leaving
        most = int(leaving.max())
        if not most:
            return None
        alike = self.valid is None and bool((leaving == most).all())
        pairs = self._split(most) if alike else self._gather(leaving)
        self.kept = self.kept - leaving
        return Leaving(pairs, leaving)

    def _split(self, n: int) -> dict[int, tuple[Tensor, Tensor]]:
        """Take the n columns after the sinks out of every row."""
        first, last = self.sinks, self.sinks + n

        def divide(part: Tensor) -> tuple[Tensor, Tensor]:
            return torch.cat([part[:, :, :first], part[:, :, last:]], 2), part[:, :, first:last]

        self.columns -= n
        return {index: layer.take(divide) for index, layer in enumerate(self.each)}

    def _gather(self, leaving: Int[Tensor, " rows"]) -> dict[int, tuple[Tensor, Tensor]]:
        """Take as many tokens after the sinks out of every row as leave it; what stays is aligned at the right."""
        valid = self.valid
        if valid is None:
            valid = torch.ones(len(leaving), self.columns, dtype=torch.bool, device="cpu")
        rank = valid.cumsum(1) - 1
        gone = valid & (rank >= self.sinks) & (rank < self.sinks + leaving[:, None])
        stays = valid & ~gone
        columns = int(stays.sum(1).max())
        out = gone.int().argsort(dim=1, descending=True, stable=True)[:, : int(leaving.max())]
        kept = stays.int().argsort(dim=1, stable=True)[:, stays.shape[1] - columns :]
        self.valid = stays.gather(1, kept)
        self.valid = None if bool(self.valid.all()) else self.valid
        self.columns = columns

        def divide(part: Tensor) -> tuple[Tensor, Tensor]:
            return _columns(part, kept), _columns(part, out)

        return {index: layer.take(divide) for index, layer in enumerate(self.each)}

    def rank(self) -> Int[Tensor, "rows columns"]:
        """The number of the token that each column holds, among those of its row that are in sight."""
        if self.valid is not None:
            return (self.valid.cumsum(1) - 1).clamp(min=0)
        return torch.arange(self.columns, dtype=torch.int64, device="cpu").expand(len(self.seen), self.columns)

    def turn_back(self, rows: Bool[Tensor, " rows"], turned: Turned) -> None:
        """Have the keys of these rows, which stand where they were read, stand at position 0."""
        rank = self.rank()
        read = torch.where(rank < self.sinks, rank, rank + self.removed[:, None])
        offsets = torch.where(rows[:, None], -read, 0)
        for index, layer in enumerate(self.each):
            if layer.pair is not None:
                keys, values = layer.pair
                layer.keys, layer.values, layer.placed = turned(index, keys, offsets).to(keys.dtype), values, None

    def state(self) -> WindowState:
        """Return everything in sight, to go on from later."""
        layers = tuple(layer.pair for layer in self.each)
        return WindowState(self.seen, self.kept, self.valid, self.read, self.columns, layers)

    def load(self, state: WindowState) -> None:
        """Have in sight what was when ``state`` was called."""
        self.clear(len(state.seen))
        self.seen, self.kept, self.valid = state.seen, state.kept, state.valid
        self.read, self.columns = state.read, state.columns
        for layer, pair in zip(self.each, state.layers, strict=True):
            if pair is not None:
                layer.lazy_initialization(*pair)
                layer.keys, layer.values = pair

    # Rows -----------------------------------------------------------------------------------------------------------

    def select(self, rows: Int[Tensor, " selected"]) -> None:
        """Have row i hold what row ``rows[i]`` held, any number of them."""
        for layer in self.each:
            for name in ("keys", "values", "placed", "new_placed"):
                part = getattr(layer, name)
                if part is not None:
                    setattr(layer, name, part.index_select(0, rows.to(part.device)))
            if layer.new is not None:
                layer.new = tuple(part.index_select(0, rows.to(part.device)) for part in layer.new)  # type: ignore[assignment]
        self.seen, self.kept = self.seen[rows], self.kept[rows]
        self.valid = None if self.valid is None else self.valid[rows]
        if self.new is not None and self.new[1] is not None:
            self.new = self.new[0], self.new[1][rows]

    def forget(self, rows: Bool[Tensor, " rows"]) -> None:
        """Forget what these rows have in sight."""
        if bool(rows.all()):
            self.clear(len(rows))
            return
        self.seen, self.kept = (counts.masked_fill(rows, 0) for counts in (self.seen, self.kept))
        valid = (
            torch.ones(len(rows), self.columns, dtype=torch.bool, device="cpu") if self.valid is None else self.valid
        )
        self.valid = valid & ~rows[:, None]

    def reset(self) -> None:
        self.clear(len(self.seen))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._reorder(beam_idx.cpu())

    def batch_select_indices(self, indices: Tensor) -> None:
        self._reorder(indices.cpu())

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._reorder(torch.arange(len(self.seen), dtype=torch.int64, device="cpu").repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        raise NotImplementedError(
            "a model with a long-term memory cannot take back tokens, as assisted decoding does: what has left the "
            "window is remembered; detach() first, or decode without an assistant"
        )


def _columns(part: Tensor, columns: Int[Tensor, "rows m"]) -> Tensor:
    """Other columns of (rows, heads, n, dim) for every row."""
    index = columns.to(part.device)[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3])
    return part.gather(2, index)
