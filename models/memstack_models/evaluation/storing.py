"""What a checkpoint would remember of documents, for a store that others read."""

from collections.abc import Iterator

import torch
from torch import Tensor

from memstack.wrappers.common import Header, LayerShape
from memstack.wrappers.common.files import Parts
from memstack_models.data.errors import CheckpointError
from memstack_models.training.common_store import digest_of
from memstack_models.training.config import RunConfig
from memstack_models.training.streams import evaluation_stream
from memstack_models.transformer.transformer import Transformer


class CheckpointReading:
    """Reads documents one after the other as an evaluation does, each with a new memory of its own.

    CheckpointError for a model without memory layers.
    """

    first = 0
    """The document token has an entry, too; the last token, which is only predicted, has none."""

    def __init__(self, name: str, run: RunConfig, model: Transformer) -> None:
        layers = run.model.memory_layers
        if not layers:
            raise CheckpointError(f"{name} has no memory layer, so nothing can be stored of it: name another one")
        size = run.model.head_dim
        shape = LayerShape(heads=run.model.kv_heads, key_dim=size, value_dim=size)
        self._run, self._model = run.model_copy(update={"eval": run.eval.model_copy(update={"rows": 1})}), model.eval()
        self.header = Header(model=name, digest=digest_of(model), layers=dict.fromkeys(layers, shape), dtype="float32")

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Iterator[Parts]:
        """Read a document; yield what each segment adds to each memory layer."""
        if len(tokens) < 2:
            return
        device = self._model.embedding.weight.device
        memory = self._run.memory.model_copy(update={"store": None})
        stream = evaluation_stream(self._run, [tokens], device, memory)
        for segment in stream:
            _, new = self._model(segment.tokens.to(device), stream.bank, stream.cache)
            stream.commit(new)
            made, n = new.of_layers(self.header.layers), segment.predicted
            yield {layer: (keys[0, :, :n], values[0, :, :n]) for layer, (keys, values) in made.items()}
