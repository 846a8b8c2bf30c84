"""The model of a run, as its configuration describes it and before it has learnt anything."""

import torch

from memstack_models.training.config import RunConfig
from memstack_models.transformer.transformer import Transformer


def new_model(run: RunConfig, vocab_size: int) -> Transformer:
    """Build a run's model on the CPU, in float32 whatever torch's defaults are: a run's precision is autocast's."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            return Transformer(run.model, vocab_size, run.memory.neighbours)
    finally:
        torch.set_default_dtype(before)


def checkpointed_layers(run: RunConfig) -> frozenset[int]:
    """The layers whose activations the configuration would have computed again, counted from 1."""
    layers = {"none": (), "memory": run.model.memory_layers, "all": range(1, run.model.layers + 1)}
    return frozenset(layers[run.train.checkpoint_activations])
