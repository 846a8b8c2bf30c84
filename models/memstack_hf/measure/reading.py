"""Documents read in several ways: perplexity by position and document, speed, and what is held."""

import time
from collections.abc import Callable, Mapping
from math import exp, log
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from memstack_hf.measure.records import Reading
from memstack_hf.measure.ways import Way, read

EDGES = (0, 512, 2048, 4096, 8192, 16384, 32768, 65536)


def read_documents(
    model: Any,
    way: Way,
    documents: Mapping[str, Int[Tensor, "1 n"]],
    beyond: int,
    tell: Callable[[int], None],
) -> Reading:
    """Read every document this way, one after the other; ``tell`` hears of tokens that are read.

    A document that cannot be read this way is cut to what can be.
    """
    losses: dict[str, Tensor] = {}
    held, note = 0, ""
    wall, cpu = time.perf_counter(), time.process_time()
    with way.opened(model) as memory:
        for name, ids in documents.items():
            most = way.longest(model)
            if most is not None and ids.shape[1] > most:
                ids, note = ids[:, :most], f"up to its native context, {most:,} tokens"
            found, now = read(model, memory, ids.to(model.device))
            losses[name], held = found[0].cpu(), max(held, now)
            tell(ids.shape[1])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    means = {name: each[max(0, beyond - 1) :].mean().item() for name, each in losses.items() if len(each) >= beyond}
    read_tokens = sum(len(each) + 1 for each in losses.values())
    return Reading(
        way=way.name,
        perplexity=exp(sum(means.values()) / len(means)) if means else None,
        by_document={name: exp(mean) for name, mean in means.items()},
        by_position=by_position(losses.values()),
        tokens_per_second=read_tokens / wall,
        cpu_seconds=cpu,
        held_bytes=held,
        note=note,
    )


def by_position(losses: Any) -> dict[str, float]:
    """Perplexity of the tokens from one edge to the next; places count from 0, and the first is not predicted."""
    bands: dict[str, float] = {}
    for first, last in zip(EDGES, (*EDGES[1:], 1 << 62), strict=True):
        within = [each[max(0, first - 1) : last - 1] for each in losses]
        together = torch.cat(within) if within else torch.zeros(0, dtype=torch.float32, device="cpu")
        if len(together):
            bands[f"{first:,}-{last:,}" if last < 1 << 62 else f"{first:,} on"] = exp(together.mean().item())
    return bands


def change(reading: Reading, base: Reading) -> float | None:
    """How much lower the perplexity is than another's, in per cent; None where either is missing."""
    if reading.perplexity is None or base.perplexity is None:
        return None
    return 100 * (exp(log(reading.perplexity) - log(base.perplexity)) - 1)
