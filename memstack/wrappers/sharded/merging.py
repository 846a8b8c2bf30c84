"""From what each shard has found, or holds, to one answer and one state."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.errors import StateError
from memstack.contract.shape import MemoryShape
from memstack.contract.state import new_state, shape_of
from memstack.wrappers.sharded.positions import of_rank
from memstack.wrappers.sharded.shard import Part, columns_of

SHARD_PARTS = {"keys", "values", "positions", "counts", "written", "shape", "format"}
LARGEST = 2**31 - 1
"""Of the numbers that say how old an entry is, as they travel."""


class Merged(NamedTuple):
    """The k best of all shards, best first."""

    scores: Float[Tensor, "rows query_heads q k"]
    positions: Int[Tensor, "rows query_heads q k"]
    source: Int[Tensor, "rows query_heads q k"]
    """Where each was: shard * k + the column there."""


def packed(
    scores: Float[Tensor, "rows query_heads q k"], positions: Int[Tensor, "rows query_heads q k"], written: Tensor
) -> Float[Tensor, "rows query_heads q two_k"]:
    """Return scores and positions as they travel, eight bytes a column: a position as how many came after it."""
    ages = (written[:, None, None, None] - 1 - positions).masked_fill_(positions < 0, -1)
    return torch.cat([scores, ages.to(torch.int32).view(torch.float32)], -1)


def merged(
    found: Float[Tensor, "shards rows query_heads q two_k"], written: Int[Tensor, " rows"], capacity: int
) -> Merged:
    """Keep the k best of what the shards have packed: by score, then by slot, as one store of all entries would."""
    scores, ages = (part.movedim(0, 3).flatten(3) for part in found.chunk(2, -1))
    ages = ages.view(torch.int32).long()
    newest = (written - 1)[:, None, None, None]
    slots = newest % capacity - ages
    slots = torch.where(slots < 0, slots + capacity, slots)
    # One number to sort by. Of floats the bits are in order, but for those below zero, which are in the opposite one.
    bits = (scores + 0.0).view(torch.int32).long()
    keys = torch.where(bits < 0, bits ^ LARGEST, bits).mul_(2**32).add_(LARGEST - slots)
    keys.masked_fill_(ages < 0, torch.iinfo(torch.int64).min)
    source = keys.topk(found.shape[-1] // 2, sorted=True).indices
    age = ages.gather(-1, source)
    return Merged(scores.gather(-1, source), (newest - age).masked_fill_(age < 0, -1), source)


def join_shards(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the state of one memory from ``shard_state_dict`` of all its ranks, in any order.

    Raises:
        StateError: they are not of one memory at one time, or not all that there are.
    """
    if not states or any(set(state) != SHARD_PARTS for state in states):
        raise StateError(
            f"the states of shards have the parts {', '.join(sorted(SHARD_PARTS))}; load others as they are"
        )
    shape, written = shape_of(states[0]), states[0]["written"]
    if not all(torch.equal(state["written"], written) and shape_of(state) == shape for state in states):
        raise StateError("the states of shards are not of one memory at one time: save all of them at the same step")
    parts = [Part(*(state[name] for name in Part._fields)) for state in states]
    held, live = torch.stack([part.counts for part in parts]).sum(0), written.clamp(max=shape.capacity)
    if not torch.equal(held, live):
        raise StateError(
            f"the states of {len(states)} shards hold {held.tolist()} entries of {live.tolist()}: join all"
        )
    return joined(shape, parts, written)


def joined(shape: MemoryShape, parts: Sequence[Part], written: Int[Tensor, " rows"]) -> dict[str, Tensor]:
    """Return the state of one memory that holds what all shards hold, in the order of their positions."""
    live = written.clamp(max=shape.capacity)
    n = int(live.max())
    keys, values = (
        part.new_zeros(shape.rows, shape.heads, n, part.shape[-1]) for part in (parts[0].keys, parts[0].values)
    )
    for part in parts:
        column = torch.arange(part.positions.shape[1], dtype=torch.int64, device="cpu")
        rows, columns = (column < part.counts[:, None]).nonzero(as_tuple=True)
        places = part.positions[rows, columns] - (written - live)[rows]
        keys[rows, :, places] = part.keys[rows, :, columns]
        values[rows, :, places] = part.values[rows, :, columns]
    return new_state(shape, keys, values, written)


def share(keys: Tensor, values: Tensor, written: Int[Tensor, " rows"], capacity: int, rank: int, shards: int) -> Part:
    """Return what falls on a rank of a state's entries, oldest first: position p on rank p modulo ``shards``."""
    live = written.clamp(max=capacity)
    columns, counts = of_rank(written - live, live, rank, shards)
    there = torch.arange(columns.shape[1], dtype=torch.int64, device="cpu") < counts[:, None]
    keys, values = (columns_of(stored, columns, there) for stored in (keys, values))
    return Part(keys, values, (written - live)[:, None] + columns, counts)
