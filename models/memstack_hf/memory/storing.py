"""What a model would remember of documents, for a store that others read."""

from collections.abc import Iterator
from typing import Any, Self, cast

import torch
from jaxtyping import Int
from torch import Tensor

from memstack.wrappers.common import Header, LayerShape
from memstack.wrappers.common.files import Parts
from memstack.wrappers.common.records import Dtype
from memstack_hf.config import settings
from memstack_hf.memory import saving
from memstack_hf.memory.long_memory import LongMemory
from memstack_hf.memory.window import Leaving
from memstack_hf.model.plan import plan_for


class ModelReading:
    """Reads documents one after the other, each with a new memory of its own, and gives what leaves the window.

    Keys are unrotated, as a memory at the fixed distance has them. Each document's first tokens, the sinks, leave no
    window: models put there what attention they have no use for, so they are no neighbours for anybody.
    """

    def __init__(self, name: str, model: Any, layers: tuple[int, ...] | None = None) -> None:
        given = settings({"position": "fixed", "far_layers": layers})
        self._memory = _Told(model, given, plan_for(model, given))
        facts = self._memory.plan.facts
        self.first = given.sinks
        self.header = Header(
            model=name,
            digest=saving.digest_of(model),
            layers={
                layer: LayerShape(heads=facts[layer].kv_heads, key_dim=facts[layer].dim, value_dim=facts[layer].dim)
                for layer in self._memory.plan.far_layers
            },
            dtype=cast(Dtype, str(model.dtype).removeprefix("torch.")),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.detach()

    @torch.no_grad()
    def read(self, tokens: Int[Tensor, " n"]) -> Iterator[Parts]:
        """Read a document; yield what leaves the window with each segment, and at the end what is left in sight."""
        memory = self._memory
        memory.reset()
        for part in tokens.to(memory.model.device, torch.int64)[None].split(memory.plan.segment, 1):
            memory.model(input_ids=part, use_cache=True, logits_to_keep=1)
            yield from memory.taken()
        memory.settle(everything=True)
        yield from memory.taken()


class _Told(LongMemory):
    """A memory that hands on what is written to it."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._taken: list[Leaving] = []

    def taken(self) -> Iterator[Parts]:
        """Yield what was written since the last call."""
        (taken, self._taken), far = (self._taken, []), self.plan.far_layers
        for leaving in taken:
            yield {layer: (keys[0], values[0]) for layer, (keys, values) in leaving.pairs.items() if layer in far}

    def _write(self, leaving: Leaving) -> None:
        super()._write(leaving)
        self._taken.append(leaving)
