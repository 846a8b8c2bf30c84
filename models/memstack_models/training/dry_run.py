"""A step's forward and backward on tensors without numbers: what it would hold at most, and all that it would do."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from memstack import MemoryBank
from memstack.plugins.config import MemoryConfig
from memstack_models.training.config import RunConfig
from memstack_models.training.model import checkpointed_layers, new_model
from memstack_models.training.step import loss_of
from memstack_models.training.stream import create_bank
from memstack_models.transformer.cache import Cache


@dataclass(frozen=True)
class Operation:
    """One call of torch's, forward or backward."""

    name: str
    """As torch has it, such as ``mm``; of memstack's own ``search``, ``mix`` and so on."""
    flops: int
    """Of matrix products; 0 of all else."""
    moved: int
    """Bytes of tensors read and written, entries of memories included; 0 where a view is all that comes of it."""


@dataclass(frozen=True)
class DryRun:
    """What a part of a step would take."""

    activations: int
    """Bytes held beside the weights at the most, gradients so far included."""
    kept: int
    """Bytes that it adds to caches and memories, which are held until all parts of the step are done."""
    operations: Sequence[Operation]

    def activations_of(self, parts: int) -> int:
        """Bytes that a step of so many parts holds at the most."""
        return self.activations + (parts - 1) * self.kept


def dry_run(run: RunConfig, vocab_size: int) -> DryRun:
    """Walk through a part of a step by the configuration alone; no tensor of the model's is made.

    As on a CPU, without a compiler. What a search holds meanwhile is not in it.
    """
    rows, segment = run.train.rows // run.train.accumulation, run.train.segment
    bank = _small_bank(run, rows)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model, cache = new_model(run, vocab_size), Cache(run.model, rows)
        model.checkpointed = checkpointed_layers(run)
        tokens = torch.zeros(rows, segment, dtype=torch.int64, device="cpu")
        half = run.train.precision == "bfloat16"
        with _Watched() as watched:
            loss, new = loss_of(model, (tokens, tokens), bank, cache, rows * segment, half=half)
            loss.backward()
            kept = [each for layer in new.layers for each in (layer.keys, layer.values, layer.last_key)]
            added = sum(each.untyped_storage().nbytes() for each in kept)
            del loss, new, kept
    return DryRun(watched.most, added, watched.operations)


def _small_bank(run: RunConfig, rows: int) -> MemoryBank:
    """Memories that nothing is asked of: what they would answer has the same shape at any size."""
    if not run.model.memory_layers:
        return MemoryBank()
    memory = MemoryConfig(capacity=1, neighbours=run.memory.neighbours)
    return create_bank(run.model, memory, rows, torch.device("cpu"))


class _Watched(TorchDispatchMode):
    """Notes every operation, and counts the bytes of what was made and is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.most = self._held = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        taken, given = _tensors((args, kwargs)), _tensors(made)
        before = {StorageWeakRef(each.untyped_storage()) for each in taken}
        fresh = [each for each in given if StorageWeakRef(each.untyped_storage()) not in before]
        for each in fresh:
            self._hold(each)
        if func.namespace == "prim":  # a question about a tensor, which only one without numbers answers by a call
            return made
        packet = func._overloadpacket
        flops = flop_registry[packet](*args, **kwargs, out_val=made) if packet in flop_registry else 0
        works = fresh or func._schema.is_mutable
        moved = sum(each.numel() * each.element_size() for each in (*taken, *given)) if works else 0
        moved += _of_entries(packet.__name__, args, made) if func.namespace == "memstack" else 0
        self.operations.append(Operation(packet.__name__, int(flops), moved))
        return made

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        self._held += size
        self.most = max(self.most, self._held)
        weakref.finalize(storage, self._let_go, size)

    def _let_go(self, size: int) -> None:
        self._held -= size


def _of_entries(name: str, args: Any, made: Any) -> int:
    """Bytes of the entries that an operator of memstack's reads, in float32: a vector per neighbour."""
    if name == "mix":
        _, weights, dim, *_ = args
        return 4 * weights.numel() * dim
    return 4 * made.numel() * args[1].shape[-1] if name == "dot" else 0


def _tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]
