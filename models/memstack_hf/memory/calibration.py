"""calibrate(): which layers gain from a memory at a fixed distance, found by loss on a text."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from memstack.contract.errors import ShapeError
from memstack_hf.model.plan import Plan


class Calibrated(Protocol):
    """What can be calibrated."""

    model: Any
    plan: Plan

    def reset(self) -> None:
        """Forget everything."""
        ...

    def disabled(self) -> AbstractContextManager[None]:
        """Neither search nor write for so long."""
        ...

    def always_far(self) -> AbstractContextManager[None]:
        """Have keys stand at the fixed distance for so long."""
        ...

    def have_far_layers(self, layers: Sequence[int]) -> None:
        """Have these layers go on."""
        ...


TOGETHER = 3
"""Neighbouring layers that are tried together."""
WORTH = 1e-3
"""Nats per token that a group of layers should save to be kept."""


def nothing_told(doing: str) -> None:
    """For who does not want to hear what is read."""


def calibrate(
    memory: Calibrated, ids: Int[Tensor, "rows n"], tell: Callable[[str], None] = nothing_told
) -> tuple[int, ...]:
    """Choose a memory's ``far_layers`` by loss on a text, and return them; the memory is empty afterwards.

    Groups of neighbouring layers are tried alone and then, from the best down, beside those that were kept: attention
    says how much a layer looks at its memory, not whether that helps. Some twenty readings of the text; ``tell`` hears
    of each before it begins.

    Raises:
        ShapeError: the text is not longer than what is in sight, so that nothing would be remembered.
    """
    if ids.shape[1] <= 2 * (memory.plan.window + memory.plan.segment):
        least = 2 * (memory.plan.window + memory.plan.segment) + 1
        raise ShapeError(
            f"calibrate needs a text of {least} tokens or more, twice what is in sight, got {ids.shape[1]}"
        )
    before, known = memory.plan.far_layers, memory.plan.layers
    groups = [known[first : first + TOGETHER] for first in range(0, len(known), TOGETHER)]
    try:
        tell("window alone")
        with memory.disabled():
            best = loss(memory, ids)
        alone = {group: _loss_with(memory, group, ids, tell) for group in groups}
        chosen: tuple[int, ...] = ()
        for group in sorted(groups, key=lambda each: alone[each]):
            tried = tuple(sorted((*chosen, *group)))
            reached = alone[group] if not chosen else _loss_with(memory, tried, ids, tell)
            if reached < best - WORTH:
                best, chosen = reached, tried
    except BaseException:
        memory.have_far_layers(before)
        raise
    memory.have_far_layers(chosen or before)
    return memory.plan.far_layers


def _loss_with(memory: Calibrated, layers: Sequence[int], ids: Tensor, tell: Callable[[str], None]) -> float:
    tell("memory in layers " + ", ".join(map(str, layers)))
    memory.have_far_layers(layers)
    with memory.always_far():
        return loss(memory, ids)


@torch.no_grad()
def loss(memory: Calibrated, ids: Int[Tensor, "rows n"]) -> float:
    """Nats per token of a text, read from its beginning, without what fits into sight; the memory is empty after."""
    memory.reset()
    losses = list(losses_of(memory, ids))
    memory.reset()
    return torch.cat(losses, 1)[:, memory.plan.window + memory.plan.segment :].mean().item()


def losses_of(memory: Calibrated, ids: Int[Tensor, "rows n"]) -> Iterable[Tensor]:
    """Read a text segment by segment; the nats of every token after the first, in float32."""
    before: Tensor | None = None
    for part in ids.split(memory.plan.segment, 1):
        logits = memory.model(input_ids=part).logits.float()
        if before is not None:
            yield cross_entropy(before, part[:, 0], reduction="none")[:, None]
        yield cross_entropy(logits[:, :-1].transpose(1, 2), part[:, 1:], reduction="none")
        before = logits[:, -1]
