"""A new run that begins with the weights of a checkpoint, whatever else of it is another."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from memstack_models.data.errors import CheckpointError
from memstack_models.training.checkpoint import newest
from memstack_models.training.config import RunConfig
from memstack_models.transformer.transformer import Transformer

MATRIX = ".weight"
"""How the names of projections, norms and embeddings end; what learns a number per head is called otherwise."""


def with_tokenizer_of(run: RunConfig, source: RunConfig) -> RunConfig:
    """Return the run with the tokeniser of another: weights say nothing with any other than their own."""
    kept = {"tokenizer": source.data.tokenizer, "vocab_size": source.data.vocab_size}
    return run.model_copy(update={"data": run.data.model_copy(update=kept)})


def take_over(model: Transformer, weights: Mapping[str, Tensor], folder: Path) -> list[str]:
    """Give the model the weights of a checkpoint; returns lines that say what is new in it and what is left out.

    What a head learns of its memory or its positions may be new, as where a layer gets a memory: it stays as it was
    initialised. CheckpointError if a matrix is missing or anything is of another shape.
    """
    own = model.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        there, wanted = (tuple(each[name].shape) if name in each else None for each in (weights, own))
        if (there and wanted and there != wanted) or ((there is None or wanted is None) and name.endswith(MATRIX)):
            raise CheckpointError(
                f"{newest(folder)} is of another shape: {name} is {there or 'missing'}, the configuration asks for "
                f"{wanted or 'no such weight'}; sizes and layers are those of the checkpoint"
            )
    model.load_state_dict(dict(own) | {name: weights[name] for name in own.keys() & weights.keys()})
    new, left = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    lines = [f"new, and as initialised: {', '.join(new)}"] if new else []
    return lines + ([f"not taken over, for this model has none: {', '.join(left)}"] if left else [])
