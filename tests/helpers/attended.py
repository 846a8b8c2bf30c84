"""What attend gives, spelled out query by query, and a memory to try it on."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from memstack import Memory, MemoryShape, create_memory

ROWS, HEADS, QUERY_HEADS, Q, DIM, K = 3, 2, 4, 5, 6, 4
SHAPE = MemoryShape(rows=ROWS, heads=HEADS, key_dim=DIM, value_dim=DIM, capacity=10)


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(**options: object) -> Memory:
    """A ring that has wrapped, a row that was begun anew, and one that is empty."""
    return written(create_memory("exact", SHAPE, **options))


def written(memory: Memory) -> Memory:
    memory.add(numbers(ROWS, HEADS, 13, DIM, seed=1), numbers(ROWS, HEADS, 13, DIM, seed=2))
    memory.reset(torch.tensor([False, True, True]))
    memory.add(numbers(ROWS, HEADS, 3, DIM, seed=3), numbers(ROWS, HEADS, 3, DIM, seed=4), torch.tensor([3, 3, 0]))
    return memory


def asked(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, and a local output with its log-sum-exp."""
    sizes = (ROWS, QUERY_HEADS, Q, DIM), (ROWS, QUERY_HEADS, Q, DIM), (ROWS, QUERY_HEADS, Q)
    made = (numbers(*size, seed=5 + i).to(dtype).requires_grad_() for i, size in enumerate(sizes))
    queries, local, lse = made
    return queries, local, lse


def per_head(first: float, last: float) -> Tensor:
    return torch.linspace(first, last, QUERY_HEADS, dtype=torch.float64).requires_grad_()


def loop(
    memory: Memory,
    given: Sequence[Tensor],
    kept: int,
    candidates: int | None = None,
    seen: Sequence[int] = (0,) * Q,
    zeros: bool = False,
    largest_share: float = 1.0,
    **terms: Tensor,
) -> Tensor:
    """One query after the other, over what the memory says it holds; ``terms`` are attend's, each given or not."""
    queries, local, lse = given
    state, output = memory.state_dict(), []
    for row, head, q in product(range(ROWS), range(QUERY_HEADS), range(Q)):
        count = int(memory.lengths[row])
        here = {name: term[head] if term.ndim == 1 else term[row, head, q] for name, term in terms.items()}
        keys, values = (state[name][row, head // 2, :count].double() for name in ("keys", "values"))
        ages = torch.arange(count, 0, -1, dtype=torch.float64)
        by_key = keys @ queries[row, head, q]
        scores = by_key * here.get("scale", DIM**-0.5) + here.get("bias", 0.0) - here.get("age", 0.0) * ages.log()
        near = by_key.topk(min(candidates or kept, count)).indices
        near = near[ages[near] > seen[q]]
        best = near[scores[near].topk(min(kept, len(near))).indices]
        mine = local[row, head, q]
        if not len(best) and zeros and "gate" in here:
            mine = mine * (1 - here["gate"].sigmoid())
        if len(best):
            share = here["gate"] if "gate" in here else scores[best].logsumexp(0) - lse[row, head, q]
            share = share.sigmoid() * largest_share
            mine = mine * (1 - share) + share * (scores[best].softmax(0) @ values[best])
        output.append(mine)
    return torch.stack(output).view(ROWS, QUERY_HEADS, Q, DIM)


TERMS = {
    "one softmax": ("scale",),
    "one softmax, biased": ("scale", "bias"),
    "one softmax that knows ages": ("bias", "age"),
    "a gate": ("scale", "gate"),
    "a gate that knows ages": ("gate", "age"),
}


def learned(names: tuple[str, ...]) -> dict[str, Any]:
    """These of attend's terms, a tensor each."""
    ranges = {"scale": (0.5, 2.0), "bias": (-1.0, 1.0), "gate": (-2.0, 1.0), "age": (0.1, 2.0)}
    return {name: per_head(*ranges[name]) for name in names}
