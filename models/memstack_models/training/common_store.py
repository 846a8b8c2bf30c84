"""A store that a checkpoint has filled: its weights' digest, and memories beside it."""

import hashlib

from torch import nn

from memstack import ConfigError, MemoryBank
from memstack.plugins.config import MemoryConfig
from memstack.plugins.registry import registry
from memstack.wrappers.common import OpenStore, open_store


def digest_of(model: nn.Module) -> str:
    """Return what tells a model's weights from all others: a hash over their names, shapes and numbers."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def beside_store(bank: MemoryBank, memory: MemoryConfig, model: nn.Module | None) -> MemoryBank:
    """Return a bank whose memories search the configuration's store as well, if it names one, for a model that reads.

    ConfigError where nobody says which model that is, for what is done there makes no use of a store.
    """
    if memory.store is None:
        return bank
    if model is None:
        raise ConfigError(f"memory.store is for memstack eval and compare alone: leave {_named(memory)} out")
    device = next(model.parameters()).device
    options = registry().place_options(memory.backend, memory.options, device)
    store: OpenStore = open_store(memory.store, digest_of(model), memory.backend, options)
    if missing := bank.keys() - store.memories.keys():
        raise ConfigError(f"the store {memory.store.place} has nothing of layers {sorted(missing)}: build it anew")
    return MemoryBank({layer: store.beside(layer, own) for layer, own in bank.items()})


def refuse_store(memory: MemoryConfig | None) -> None:
    """ConfigError for a training with a store, whose keys were made by weights that the training changes."""
    if memory is not None and memory.store is not None:
        raise ConfigError(
            f"memory.store is for evaluation: {memory.store.place} holds keys of weights as they are, and training "
            f"changes those: leave {_named(memory)} out"
        )


def _named(memory: MemoryConfig) -> str:
    return f"memory.store={memory.store.place}" if memory.store else ""
