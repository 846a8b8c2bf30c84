"""The true nearest neighbours among the entries of a saved state, by plain matrix product."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from memstack.contract.entries import FetchedEntries
from memstack.contract.precision import without_autocast
from memstack.contract.result import SearchResult
from memstack.contract.state import shape_of
from memstack.contract.validation import check_search

SCORES = 1 << 22  # held at once: 16 MB, whatever the memory's size


@torch.no_grad()
def nearest_in_state(
    state: Mapping[str, Tensor],
    queries: Float[Tensor, "rows query_heads q key_dim"],
    k: int,
    device: torch.device | str = "cpu",
) -> SearchResult:
    """Return what an exact search finds in a memory of this state, computed on ``device`` from the state alone.

    It shares no code with any search, so an error there cannot hide here. The keys are those stored: rounded, in a
    store of half precision. The answer never goes stale. Raises ShapeError as ``Memory.search``.
    """
    shape = shape_of(state)
    check_search(shape, queries, k)
    written = state["written"].to(device)
    lengths = written.clamp(max=shape.capacity)
    scores, places = _best(state["keys"].to(device, torch.float32), lengths, queries.detach().to(device), k)
    # The state holds the live entries only, oldest first.
    oldest = (written - lengths)[:, None, None, None]
    positions = (places + oldest).masked_fill(scores.isneginf(), -1)
    outer = (*queries.shape[:3], k)
    fetched = [_gather(state[name].to(device), places, positions).reshape(*outer, -1) for name in ("keys", "values")]
    on_queries = [part.to(queries.device) for part in (scores.reshape(outer), positions.reshape(outer), *fetched)]
    return SearchResult(on_queries[0], on_queries[1], FetchedEntries(on_queries[2], on_queries[3], lambda: None))


def _best(keys: Tensor, lengths: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of every query, and the keys' places: (rows, heads, q, k), -inf where there is none."""
    rows, heads, entries, dim = keys.shape
    folded = queries.to(torch.float32).reshape(rows, heads, -1, dim)
    dead = (torch.arange(entries, device=keys.device, dtype=torch.int64) >= lengths[:, None])[:, None, None]
    width = min(k, entries)
    scores = torch.full((*folded.shape[:3], k), -torch.inf, device=keys.device, dtype=torch.float32)
    places = torch.zeros(scores.shape, dtype=torch.int64, device=keys.device)
    step = max(1, SCORES // max(1, rows * heads * entries))
    with without_autocast(folded):
        for q in range(0, folded.shape[2] if width else 0, step):
            block = (folded[:, :, q : q + step] @ keys.mT).masked_fill(dead, -torch.inf)
            scores[:, :, q : q + step, :width], places[:, :, q : q + step, :width] = _top(block, width)
    return scores, places


def _top(scores: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The largest; a NaN, which no key can score but by a NaN query, finds nothing."""
    best = scores.masked_fill(scores.isnan(), -torch.inf).topk(width)
    return best.values, best.indices


def _gather(entries: Tensor, places: Tensor, positions: Tensor) -> Tensor:
    """The (rows, heads, q, k, dim) entries at these places; zeros where there is none."""
    dim = entries.shape[3]
    if not entries.shape[2]:
        return torch.zeros(*places.shape, dim, device=entries.device, dtype=torch.float32)
    flat = places.flatten(2)[..., None].expand(-1, -1, -1, dim)
    return entries.gather(2, flat).view(*places.shape, dim).masked_fill((positions < 0)[..., None], 0)
