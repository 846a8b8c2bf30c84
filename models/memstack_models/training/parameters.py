"""How many numbers a model learns, and an optimiser keeps, by the configuration alone: before anything is made."""

from collections.abc import Iterator

from memstack_models.training.config import TrainConfig
from memstack_models.transformer.config import ModelConfig

FLOAT = 4
"""Bytes of a float32."""


def parameter_count(model: ModelConfig, vocab_size: int) -> int:
    """How many numbers the model learns."""
    return sum(count * rows * columns for count, rows, columns in _matrices(model, vocab_size)) + _in_vectors(model)


def optimizer_bytes(train: TrainConfig, model: ModelConfig, vocab_size: int) -> int:
    """What the optimiser keeps once every parameter has stepped, but for its counts of steps.

    AdamW two numbers per parameter; Adafactor a row and a column per matrix (arXiv 1804.04235).
    """
    if train.optimizer == "adamw":
        return 2 * FLOAT * parameter_count(model, vocab_size)
    edges = sum(count * (rows + columns) for count, rows, columns in _matrices(model, vocab_size))
    return FLOAT * (edges + _in_vectors(model))


def _matrices(model: ModelConfig, vocab_size: int) -> Iterator[tuple[int, int, int]]:
    """The parameters of two axes: how many of them, their rows, their columns."""
    width, narrow, layers = model.heads * model.head_dim, model.kv_heads * model.head_dim, model.layers
    yield 1, vocab_size, model.dim
    yield layers, width, model.dim
    yield 2 * layers, narrow, model.dim
    yield layers, model.dim, width
    yield layers, model.ffn_dim, model.dim
    yield layers, model.dim, model.ffn_dim
    placed = layers if model.memory_layer_positions else layers - len(model.memory_layers)
    yield placed, model.heads, model.relative_buckets


def _in_vectors(model: ModelConfig) -> int:
    """The numbers of all other parameters: norms, and what is learned per head."""
    per_memory = 1 + (model.age_init is not None)
    norms = (2 * model.layers + 1) * model.dim
    heads = model.layers * (model.heads + model.kv_heads * model.smear_keys)
    return norms + heads + len(model.memory_layers) * per_memory * model.heads
