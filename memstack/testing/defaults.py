"""Promises about what a process has set: a memory made or used under another default dtype or device answers alike."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.ops import search
from memstack.contract.precision import without_autocast
from memstack.testing.assertions import ensure, ensure_identical
from memstack.testing.harness import CHUNK, SHAPE, Harness

Setting = Callable[[], AbstractContextManager[object]]
Answers = dict[str, Tensor]


class DefaultContract(Harness):
    """What depends on nothing that others have set."""

    def test_another_default_dtype(self) -> None:
        """Made or used while torch's default dtype is another, a memory answers as ever, bit for bit."""
        self._ensure_alike(
            {f"default dtype {dtype}": partial(default_dtype, dtype) for dtype in (torch.bfloat16, torch.float64)}
        )

    def test_another_default_device(self) -> None:
        """Made or used while torch's default device is another, a memory answers as ever, and where it should."""
        within, everywhere = partial(torch.device, "meta"), partial(default_device, "meta")
        self._ensure_alike({"torch.device('meta')": within, "default device meta": everywhere})

    def test_made_in_one_mode_and_used_in_another(self) -> None:
        """Made or used under inference_mode or autocast, a memory answers as ever, also once that has ended."""
        autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
        self._ensure_alike({"inference_mode": torch.inference_mode, "autocast": autocast})

    def _ensure_alike(self, settings: dict[str, Setting]) -> None:
        """Raise AssertionError unless a memory under each setting answers as one that knows nothing of it."""
        expected = self._answers(nullcontext, nullcontext, nullcontext)
        for name, setting in settings.items():
            orders = {"made": (setting, nullcontext, setting), "used": (nullcontext, setting, nullcontext)}
            for what, order in orders.items():
                for part, got in self._answers(*order).items():
                    ensure_identical(f"{what} under {name}: {part}", got, expected[part])

    def _answers(self, making: Setting, *using: Setting) -> Answers:
        """All that a memory says which is made under one setting and used under others, one after the other."""
        random = torch.Generator().manual_seed(0)
        answers: Answers = {}
        with making():
            memory = self.make()
        for turn, setting in enumerate(using):
            given = _Given(random)
            with setting():
                said = dict(given.use(memory))
            answers |= {f"{part}, turn {turn + 1}": tensor for part, tensor in said.items()}
        return answers


@contextmanager
def default_dtype(dtype: torch.dtype) -> Generator[None]:
    """Let torch make tensors in this dtype where none is said."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Generator[None]:
    """Let torch make tensors on this device where none is said."""
    before = torch.get_default_device()
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None if before.type == "cpu" else before)


class _Given:
    """What a memory is given, made before anything is set. No number of it is exact in half precision."""

    def __init__(self, random: torch.Generator) -> None:
        def numbers(n: int, dim: int) -> Tensor:
            return torch.randn(SHAPE.rows, SHAPE.heads, n, dim, generator=random, dtype=torch.float32, device="cpu")

        n = SHAPE.capacity + 5
        self.keys, self.values = numbers(n, SHAPE.key_dim), numbers(n, SHAPE.value_dim)
        self.queries, self.weights = numbers(24, SHAPE.key_dim), numbers(24, 4)
        self.lengths = torch.tensor([3, CHUNK, 0], dtype=torch.int64, device="cpu")
        self.order = torch.tensor([1, 0, 2], dtype=torch.int64, device="cpu")
        self.starts = torch.tensor([False, True, False], dtype=torch.bool, device="cpu")

    def use(self, memory: Memory) -> Iterator[tuple[str, Tensor]]:
        """Do to a memory all that can be done, and say what it answered."""
        memory.add(self.keys, self.values)
        memory.add(self.keys[:, :, :CHUNK], self.values[:, :, :CHUNK], self.lengths)
        memory.select(self.order)
        yield from self._ask("after a select", memory)
        state = memory.state_dict()
        yield from ((f"the state's {name}", part) for name, part in state.items())
        memory.load_state_dict(state)
        memory.reset(self.starts)
        yield from self._ask("after a reset", memory)

    def _ask(self, when: str, memory: Memory) -> Iterator[tuple[str, Tensor]]:
        doors = {"memory.search": memory.search, "memstack.search": partial(search, memory)}
        yield f"lengths {when}", memory.lengths
        yield f"written {when}", memory.written
        for door, ask in {**doors, "search_exactly": memory.search_exactly}.items():
            grad = not torch.is_inference_mode_enabled()
            queries, weights = (part.clone().requires_grad_(grad) for part in (self.queries, self.weights))
            found = ask(queries, 4)
            dot, mixed = found.dot(queries), found.mix(weights)
            parts = {"scores": found.scores, "positions": found.positions, "keys": found.keys, "values": found.values}
            parts |= {"dot": dot, "mix": mixed}
            if grad:
                with without_autocast(queries):  # which is for forward passes alone
                    (dot.sum() + mixed.sum()).backward()
                parts |= {"queries' gradient": _grad(queries), "weights' gradient": _grad(weights)}
            yield from ((f"{part} of {door} {when}", tensor.detach()) for part, tensor in parts.items())


def _grad(tensor: Tensor) -> Tensor:
    ensure(tensor.grad is not None, "a gradient should have been computed")
    return tensor.grad if tensor.grad is not None else tensor
