"""The true nearest neighbours of any memory, by plain matrix product over the entries it says it holds."""

import torch
from jaxtyping import Float
from torch import Tensor

from memstack.contract.entries import FetchedEntries
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult

SCORES = 1 << 22  # held at once: 16 MB, whatever the memory's size


@torch.no_grad()
def true_neighbours(
    memory: Memory, queries: Float[Tensor, "rows query_heads q key_dim"], k: int, device: torch.device | str = "cpu"
) -> SearchResult:
    """Return what an exact search of this memory finds, computed on ``device`` from its ``state_dict`` alone.

    It shares no code with any search, so an error there cannot hide here. The keys are those stored: rounded, in a
    store of half precision. The answer is a copy: it stays usable after the next ``add``.
    """
    state = memory.state_dict()
    keys = state["keys"].to(device, torch.float32)
    rows, heads, entries, dim = keys.shape
    folded = queries.to(device, torch.float32).reshape(rows, heads, -1, dim)
    lengths = memory.lengths.to(device)
    dead = (torch.arange(entries, device=device) >= lengths[:, None])[:, None, None]
    width = min(k, entries)
    scores = torch.full((*folded.shape[:3], k), -torch.inf, device=device)
    places = torch.zeros(scores.shape, dtype=torch.int64, device=device)
    step = max(1, SCORES // max(1, rows * heads * entries))
    for q in range(0, folded.shape[2] if width else 0, step):
        block = (folded[:, :, q : q + step] @ keys.mT).masked_fill(dead, -torch.inf)
        scores[:, :, q : q + step, :width], places[:, :, q : q + step, :width] = block.topk(width)
    # The state holds the live entries only, oldest first.
    oldest = state["written"].to(device) - lengths
    positions = (places + oldest[:, None, None, None]).masked_fill(scores.isneginf(), -1)
    outer = (*queries.shape[:3], k)
    fetched = [_gather(state[name].to(device), places, positions).reshape(*outer, -1) for name in ("keys", "values")]
    on_queries = [part.to(queries.device) for part in (scores.reshape(outer), positions.reshape(outer), *fetched)]
    return SearchResult(on_queries[0], on_queries[1], FetchedEntries(on_queries[2], on_queries[3], lambda: None))


def _gather(entries: Tensor, places: Tensor, positions: Tensor) -> Tensor:
    """The (rows, heads, q, k, dim) entries at these places; zeros where there is none."""
    dim = entries.shape[3]
    if not entries.shape[2]:
        return torch.zeros(*places.shape, dim, device=entries.device)
    flat = places.flatten(2)[..., None].expand(-1, -1, -1, dim)
    return entries.gather(2, flat).view(*places.shape, dim).masked_fill((positions < 0)[..., None], 0)
