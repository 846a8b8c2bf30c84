"""Step: what one training step measured."""

from dataclasses import dataclass

from torch import Tensor

from memstack_models.training.records import Recall, StepEntry


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

    def logged(self, probed: Recall) -> StepEntry:
        """Return the step as the log keeps it."""
        shares = tuple(tuple(round(share, 4) for share in heads) for heads in self.memory_share.tolist())
        return StepEntry.model_validate(vars(self) | dict(probed) | {"memory_share": shares})
