"""A memory over several ranks beside lists that hold everything, and beside one process that does."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers.ranks import on_ranks
from helpers.sharded import refusal, sharded
from torch import Tensor
from torch.nn.functional import normalize

from memstack import Memory, MemoryShape, SearchResult, ShapeError, ShardError, create_memory, search
from memstack.testing.assertions import ensure_same_state, ensure_true_answer
from memstack.testing.harness import Data
from memstack.testing.oracle import Oracle
from memstack.wrappers.sharded import join_shards
from memstack.wrappers.sharded.merging import LARGEST

SHAPE = MemoryShape(rows=3, heads=2, key_dim=8, value_dim=6, capacity=50)
MOST = 14


def dealer(deal: str, draw: random.Random, step: int, ranks: int) -> list[list[int]]:
    """How many entries each rank adds to each row at a step."""
    if deal == "one after the other":  # all that the row has room for comes from one rank, then from the next
        return [[MOST * (rank == step // 6 % ranks)] * SHAPE.rows for rank in range(ranks)]
    if deal == "the last gets less":
        return [[3 if rank == ranks - 1 else 9] * SHAPE.rows for rank in range(ranks)]
    return [[draw.randrange(MOST + 1) for _ in range(SHAPE.rows)] for _ in range(ranks)]


def in_order(counts: list[list[int]], row: int, written: int) -> list[tuple[int, int]]:
    """The entries of a row in their order, as (rank, which of its own): one turn after the other."""
    ranks = len(counts)
    order: list[tuple[int, int]] = []
    for turn in range(MOST):
        for place in range(ranks):
            rank = (written + place) % ranks
            if turn < counts[rank][row]:
                order.append((rank, turn))
    return order


def give(oracle: Oracle, counts: list[list[int]], given: list[tuple[Tensor, Tensor]]) -> None:
    """Give to lists what all ranks add."""
    orders = [in_order(counts, row, oracle.written[row]) for row in range(SHAPE.rows)]
    n = max(map(len, orders))
    parts: list[Tensor] = []
    for part in range(2):
        whole = torch.zeros(SHAPE.rows, SHAPE.heads, n, given[0][part].shape[-1])
        for row, order in enumerate(orders):
            for column, (rank, own) in enumerate(order):
                whole[row, :, column] = given[rank][part][row, :, own]
        parts.append(whole)
    oracle.add(parts[0], parts[1], [len(order) for order in orders])


def history(rank: int, ranks: int, deal: str, backend: str) -> list[int]:
    """Add, reset, select, save and load on a rank, and compare every answer with what lists give; the room it took."""
    data, draw = Data(SHAPE), random.Random(0)
    memory, oracle = sharded(SHAPE, ranks, backend=backend), Oracle(SHAPE)
    for step in range(24):
        counts = dealer(deal, draw, step, ranks)
        given = [(data.keys(MOST), data.values(MOST)) for _ in range(ranks)]
        memory.add(*given[rank], torch.tensor(counts[rank]))
        give(oracle, counts, given)
        if step % 5 == 4:
            mask = [draw.random() < 0.3 for _ in range(SHAPE.rows)]
            memory.reset(torch.tensor(mask))
            oracle.reset(mask)
        if step % 7 == 6:
            chosen = [draw.randrange(SHAPE.rows) for _ in range(SHAPE.rows)]
            memory.select(torch.tensor(chosen))
            oracle.select(chosen)
        ask(memory, oracle, [data.queries(2 * other + 1, 2) for other in range(ranks)][rank], step)
        if step % 9 == 8:
            ensure_same_state("the state of all shards", memory.state_dict(), oracle.state_dict())
            memory.load_state_dict(oracle.state_dict())
    return [memory.shard.local.shape.capacity, memory.shape.capacity]


def ask(memory: Memory, oracle: Oracle, queries: Tensor, step: int) -> None:
    """Ask with another number of queries on each rank, of which all or none may be asked for."""
    assert memory.lengths.tolist() == oracle.lengths
    assert memory.written.tolist() == oracle.written
    k = 4 if step % 3 else SHAPE.capacity + 5
    for find in (memory.search, memory.search_exactly):
        ensure_true_answer(find(queries, k), queries, k, oracle, find == memory.search_exactly or memory.exact)


@pytest.mark.parametrize(
    ("ranks", "deal", "backend"),
    [
        (2, "random", "exact"),
        (2, "one after the other", "exact"),
        pytest.param(4, "the last gets less", "exact", marks=pytest.mark.long),
        pytest.param(4, "random", "bucketed", marks=pytest.mark.long),
        pytest.param(4, "one after the other", "bucketed", marks=pytest.mark.long),
    ],
)
def test_ranks_may_add_unequal_numbers(ranks: int, deal: str, backend: str) -> None:
    rooms = on_ranks(ranks, history, ranks, deal, backend)
    if deal == "one after the other":
        assert all(room == whole for room, whole in rooms), "each has to hold all there is in its turn"
    else:
        assert all(room < whole for room, whole in rooms)


# One process that holds all ------------------------------------------------------------------------------------------

WIDE = MemoryShape(rows=2, heads=2, key_dim=64, value_dim=64, capacity=2048)
K, ASKED, BLOCK = 32, 64, 128


class Counted:
    """Counts the bytes that this rank receives of others."""

    def __init__(self, memory: Any) -> None:
        self.group, self.bytes = memory.group, 0
        for name in ("_gather", "_trade"):
            setattr(self.group, name, self._counting(getattr(self.group, name)))

    def _counting(self, exchange: Any) -> Any:
        def counted(into: Tensor, *arguments: Any, **options: Any) -> Any:
            self.bytes += into.nbytes * (self.group.size - 1) // self.group.size
            return exchange(into, *arguments, **options)

        return counted

    def take(self) -> int:
        taken, self.bytes = self.bytes, 0
        return taken


def step(memory: Memory, queries: Tensor) -> list[Tensor]:
    """What a memory layer does, forward and backward."""
    queries = queries.clone().requires_grad_()
    found: SearchResult = search(memory, queries, K)
    mixed = found.mix((8 * found.dot(queries)).softmax(-1))
    mixed.square().sum().backward()
    assert queries.grad is not None
    return [found.scores, found.positions, mixed.detach(), queries.grad]


def beside_one_process(rank: int, ranks: int) -> dict[str, Any]:
    """Largest differences from one process, and bytes received."""
    draw = torch.Generator().manual_seed(0)
    memory, alone = sharded(WIDE, ranks, first_pass="auto"), create_memory("exact", WIDE)
    counted, centre, adding = Counted(memory), torch.randn(2, 2, 1, 64, generator=draw), []
    for _ in range(WIDE.capacity // (ranks * BLOCK) + 3):
        centre = normalize(centre + 0.04 * torch.randn(2, 2, 1, 64, generator=draw), dim=-1)
        keys = normalize(centre + torch.randn(2, 2, ranks * BLOCK, 64, generator=draw) / 8, dim=-1)
        values = torch.randn(2, 2, ranks * BLOCK, 64, generator=draw)
        alone.add(keys, values)
        counted.take()
        memory.add(keys[:, :, rank::ranks], values[:, :, rank::ranks])
        adding.append(counted.take())
    queries = normalize(centre + torch.randn(2, 2, ranks * ASKED, 64, generator=draw) / 8, dim=-1)
    mine = slice(rank * ASKED, (rank + 1) * ASKED)
    many = step(memory, queries[:, :, mine])
    asking = counted.take()
    one = [part[:, :, mine] for part in step(alone, queries)]
    gaps = [(left.double() - right.double()).abs().max().item() for left, right in zip(many, one, strict=True)]
    return {"gaps": gaps, "adding": max(adding), "asking": asking / (WIDE.rows * WIDE.heads * ASKED)}


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.long)])
def test_many_ranks_answer_as_one_process_does(ranks: int) -> None:
    for told in on_ranks(ranks, beside_one_process, ranks):
        scores, positions, mixed, gradient = told["gaps"]
        assert scores == 0
        assert positions == 0
        assert mixed <= 1e-6
        assert gradient <= 1e-5
        assert told["asking"] <= 1700 * (ranks - 1)
        assert told["adding"] <= 8 * (8 + WIDE.rows) * (ranks - 1), "an add sends no more than the status word"


# Saving, and another number of ranks ---------------------------------------------------------------------------------


State = dict[str, Any]


def as_lists(state: Mapping[str, Tensor]) -> State:
    return {name: part.tolist() for name, part in state.items()}


def as_tensors(state: State) -> dict[str, Tensor]:
    return {name: torch.tensor(part) for name, part in state.items()}


def saved(rank: int, ranks: int, state: State | None) -> tuple[State, State]:
    """Fill, or load a state; return that of the whole, and of the part that lies on a rank."""
    memory, data = sharded(SHAPE, ranks), Data(SHAPE, seed=5)
    if state is None:
        keys, values = data.keys(70), data.values(70)
        memory.add(keys[:, :, rank::ranks], values[:, :, rank::ranks])
    else:
        memory.load_state_dict(as_tensors(state))
    return as_lists(memory.state_dict()), as_lists(memory.shard_state_dict())


@pytest.mark.parametrize("ranks", [(1, 2), pytest.param((2, 4), marks=pytest.mark.long)])
def test_another_number_of_ranks_goes_on_from_a_state(ranks: tuple[int, int]) -> None:
    first, second = ranks
    begun = on_ranks(first, saved, first, None)
    whole = begun[0][0]
    gone_on = on_ranks(second, saved, second, whole)
    for told in (begun, gone_on):
        assert all(state == whole for state, _ in told)
        parts = [as_tensors(part) for _, part in told]
        assert as_lists(join_shards(parts[::-1])) == whole
        older = dict(parts[0], written=parts[0]["written"] - 1)
        assert len(told) == 1 or refusal(lambda: join_shards(parts[1:])).startswith("StateError: the states of ")  # noqa: B023
        assert refusal(lambda: join_shards([*parts, older])).endswith("save all of them at the same step")  # noqa: B023
    assert refusal(lambda: join_shards([as_tensors(whole)])).startswith(
        "StateError: the states of shards have the parts"
    )


# Groups, and no ranks ------------------------------------------------------------------------------------------------


def in_groups(rank: int) -> tuple[list[int], str, str]:
    """Add as many entries as the rank says, to a memory of two ranks out of four; what it holds then."""
    memory, data = sharded(SHAPE, 2), Data(SHAPE)
    memory.add(data.keys(rank + 1), data.values(rank + 1))
    return memory.lengths.tolist(), str(memory.group), refusal(lambda: sharded(SHAPE, 3))


def test_more_ranks_than_shards_are_as_many_groups() -> None:
    for rank, (lengths, group, odd) in enumerate(on_ranks(4, in_groups)):
        assert lengths == [3 if rank < 2 else 7] * SHAPE.rows
        assert group == f"the group of ranks {'0, 1' if rank < 2 else '2, 3'}"
        assert odd == "ShardError: memory.shards should divide the number of ranks, got 3 for 4 ranks"


def test_one_process_is_told_what_it_takes() -> None:
    assert not dist.is_initialized()
    with pytest.raises(ShardError, match="torchrun --nproc-per-node 2"):
        sharded(SHAPE, 2)
    with pytest.raises(ShapeError, match="holds up to 2147483647"):
        sharded(MemoryShape(rows=1, heads=1, key_dim=1, value_dim=1, capacity=LARGEST + 1), 2)
