"""A part of a training step, and what a whole one measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memstack import MemoryBank
from memstack_models.data.reader import IGNORED
from memstack_models.training.records import Recall, StepEntry
from memstack_models.transformer.cache import Cache
from memstack_models.transformer.transformer import SegmentOutput


def loss_of(
    model: nn.Module, segment: tuple[Tensor, Tensor], bank: MemoryBank, cache: Cache, tokens: int, *, half: bool
) -> tuple[Tensor, SegmentOutput]:
    """The loss of tokens and targets (rows, segment), as its share of the mean over so many; and what they add.

    ``half`` has matrix products computed in bfloat16.
    """
    inputs, targets = segment
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=half):
        logits, new = model(inputs, bank, cache)
    flat = logits.flatten(0, 1).float()
    return cross_entropy(flat, targets.flatten(), ignore_index=IGNORED, reduction="sum") / tokens, new


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one training step measured."""

    step: int
    loss: float
    rate: float
    tokens_per_s: int
    memory_share: Tensor
    """(memory_layers, heads), on the model's device: reading it waits for that."""
    search_ms: float
    add_ms: float

    def logged(self, probed: Recall, ages: Mapping[int, float] | None = None) -> StepEntry:
        """Return the step as the log keeps it; ``ages`` are those of what was found, by layer."""
        shares = tuple(tuple(round(share, 4) for share in heads) for heads in self.memory_share.tolist())
        by_layer = {str(layer): round(age, 1) for layer, age in (ages or {}).items()}
        other = {"memory_share": shares, "age_by_layer": by_layer or None}
        return StepEntry.model_validate(vars(self) | dict(probed) | other)
