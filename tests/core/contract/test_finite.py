"""inspect_keys, and that a training step asks its device no more often for having more memories."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.internals import inside
from memstack_models.training.config import RunConfig
from memstack_models.training.trainer import Trainer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from memstack import IndexedMemory, MemoryShape, NonFiniteError, inspect_keys
from memstack.contract import ops

SHAPE = MemoryShape(rows=1, heads=2, key_dim=3, value_dim=3, capacity=8)


class Newest(IndexedMemory):
    """Proposes the first slots: there is no search in it that could ask anything."""

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        pass

    def index_forget(self, rows: Tensor) -> None:
        pass

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        return torch.arange(k, device=queries.device).expand(*queries.shape[:3], k)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf, 1e5])
def test_inspected_keys_are_refused_as_ever(wrong: float, dtype: str) -> None:
    """Also what only the store's dtype cannot hold."""
    memory = Newest(SHAPE, Newest.Options.model_validate({"dtype": dtype}))
    keys, values = torch.zeros(1, 2, 4, 3), torch.zeros(1, 2, 4, 3)
    keys[0, 1, 2, 0] = wrong
    inspect_keys([values, keys])
    if wrong == 1e5 and dtype == "float32":
        memory.add(keys, values)
        return
    with pytest.raises(NonFiniteError):
        memory.add(keys, values)
    assert memory.lengths.tolist() == [0]


def test_keys_that_changed_after_they_were_inspected_are_looked_at_again() -> None:
    memory, keys = Newest(SHAPE), torch.zeros(1, 2, 4, 3)
    inspect_keys([keys])
    keys[0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        memory.add(keys, keys)


def test_there_may_be_nothing_to_inspect() -> None:
    with torch.inference_mode():
        untracked = torch.zeros(1, 2, 4, 3)
    inspect_keys([])
    inspect_keys([torch.empty(1, 2, 0, 3), untracked, torch.ones(1, 2, 4, 3, dtype=torch.bool)])
    memory = Newest(SHAPE)
    memory.add(untracked, untracked)
    assert memory.lengths.tolist() == [4]


# Waiting for the device ---------------------------------------------------------------------------------------------

ASKS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}
INSIDE = {
    getattr(torch.ops.memstack, name).default: getattr(ops, f"_{name}") for name in ("search", "scored", "dot", "mix")
}


class Accelerator(TorchDispatchMode):
    """Plays a device: all that is made from its tensors lies there. Counts how often the host waits for one of them."""

    def __init__(self, tensors: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.there, self.asked = WeakTensorKeyDictionary(dict.fromkeys(tensors, True)), 0
        for name in ("tolist", "numpy"):  # no operators
            monkeypatch.setattr(Tensor, name, lambda tensor, read=getattr(Tensor, name): self.read(tensor, read))

    def read(self, tensor: Tensor, read: Callable[[Tensor], Any]) -> Any:
        self.asked += tensor in self.there
        return read(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in INSIDE:
            with self:
                out = INSIDE[func]._init_fn(*args)
        else:
            out = func(*args, **(kwargs or {}))
        if any(isinstance(given, Tensor) and given in self.there for given in tree_leaves((args, kwargs))):
            self.asked += func in ASKS
            for made in tree_leaves(out):
                # An answer's number is the host's own.
                if isinstance(made, Tensor) and (func not in INSIDE or made.ndim):
                    self.there[made] = True
        return out


def waits(layers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, which: str = "none") -> int:
    """How often the third step of a model with these memory layers asks its device."""
    run = RunConfig.model_validate(
        {
            "model": {"preset": "tiny", "layers": 4, "dim": 16, "ffn_dim": 32, "cache": 8, "memory_layers": layers},
            "memory": {"capacity": 20, "neighbours": 4},
            "train": {"rows": 2, "segment": 8, "warmup": 2, "checkpoint_activations": which},
        }
    )
    texts = [torch.arange(60) % 13 for _ in range(2)]
    trainer = Trainer(run, Path(), 13, texts, [], torch.ones(13, dtype=torch.int64))
    bank = trainer.streams[0].bank.wrapped(lambda memory: Newest(memory.shape))
    stream = replace(trainer.streams[0], bank=bank)
    trainer.streams = [stream]
    for _ in range(2):
        trainer.advance()
    state = [*trainer.model.parameters(), *stream.cache.state_dict().values()]
    stores = [inside(memory, "store") for memory in bank.values()]
    stored: list[Any] = [part for store in stores for part in (store.keys, store.values)]
    with Accelerator([*state, *stored], monkeypatch) as accelerator:
        trainer.advance()
    return accelerator.asked


@pytest.mark.parametrize("which", ["none", "all"])
def test_a_step_waits_for_its_device_no_more_often_with_more_memories(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the loss and the gradient's norm, and once for all keys."""
    without = waits((), monkeypatch, which)
    assert without > 0
    assert waits((1,), monkeypatch, which) == without + 1
    assert waits((1, 2, 4), monkeypatch, which) == without + 1
