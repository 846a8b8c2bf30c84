"""What memories and cache hold, row by row: then any number of ranks can take the rows that are theirs."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from memstack import MemoryShape
from memstack.contract.errors import StateError
from memstack.contract.state import new_state

Parts = dict[str, Tensor]


def row_name(row: int, part: str) -> str:
    """What a part of a row is called in a checkpoint."""
    return f"row.{row}.{part}"


def split_memory(state: Mapping[str, Tensor]) -> list[Parts]:
    """The state of a memory by row: keys (heads, n, key_dim) and values of the n that are live, and how many came."""
    capacity = int(state["shape"][-1])
    written = state["written"].to("cpu", torch.int64)
    return [
        {name: state[name][row, :, : min(count, capacity)].clone() for name in ("keys", "values")}
        | {"written": written[row].clone()}
        for row, count in enumerate(written.tolist())
    ]


def joined_memory(rows: Sequence[Mapping[str, Tensor]], shape: MemoryShape) -> Parts:
    """The state of a memory of these rows: what ``split_memory`` took apart."""
    longest = max(row["keys"].shape[1] for row in rows)
    parts = {name: torch.stack([_padded(row[name], longest) for row in rows]) for name in ("keys", "values")}
    return new_state(shape, parts["keys"], parts["values"], torch.stack([row["written"] for row in rows]))


def split_cache(state: Mapping[str, Tensor], rows: int) -> list[Parts]:
    """The state of a cache by row; StateError if it has another number of them."""
    for name, tensor in state.items():
        if tensor.ndim == 0 or len(tensor) != rows:
            raise StateError(f"cache.{name} is {tuple(tensor.shape)}, the configuration asks for {rows} rows")
    return [{name: tensor[row].clone() for name, tensor in state.items()} for row in range(rows)]


def joined_cache(rows: Sequence[Mapping[str, Tensor]]) -> Parts:
    """The state of a cache of these rows."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _padded(entries: Tensor, length: int) -> Tensor:
    """(heads, n, dim) -> (heads, length, dim), with zeros at the right."""
    whole = entries.new_zeros(entries.shape[0], length, entries.shape[2])
    whole[:, : entries.shape[1]] = entries
    return whole
