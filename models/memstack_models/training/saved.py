"""Whether what a checkpoint holds is what a run would have saved: all of it is looked at before any is taken over."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from memstack import Memory
from memstack_models.data.errors import CheckpointError
from memstack_models.training.optimizers import state_shapes
from memstack_models.training.stream import Stream, sub_state

RANDOM, RANDOM_CUDA = "random", "random.cuda"
COUNTED = 1 << 24
"""So far an optimiser counts its steps, in float32."""
MOST_WRITTEN = 1 << 53


class SavedState:
    """The tensors of a checkpoint, by the names that a run gives them.

    Every check raises CheckpointError, in one line that names the file and the tensor.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self._path, self._tensors = path, tensors

    def of(self, part: str) -> dict[str, Tensor]:
        """Return a part's tensors under the names that they have in it."""
        return sub_state(self._tensors, part)

    def check_parts(self, parts: Iterable[str]) -> None:
        """Refuse weights without the rest of a run, and tensors that belong to none of these parts."""
        if RANDOM not in self._tensors:
            raise CheckpointError(
                f"{self._path.parent} holds exported weights only: they can be evaluated, not resumed"
            )
        known = tuple(f"{part}." for part in parts)
        for name in sorted(self._tensors):
            if not name.startswith(known) and name not in (RANDOM, RANDOM_CUDA):
                self._refuse(f"it has {name}, which this run has not")

    def check_model(self, model: nn.Module) -> None:
        """Names, shapes and types of all weights, and that they are finite."""
        self._check_like("model", model.state_dict())

    def check_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, step: int, idle: Collection[str]
    ) -> None:
        """The state of every parameter at this step; those that are ``idle`` have none."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        stepped = [(i, each) for i, each in enumerate(parameters) if step and names[id(each)] not in idle]
        shapes = {f"{i}.{name}": shape for i, p in stepped for name, shape in state_shapes(optimizer, p).items()}
        state = self.of("optimizer")
        self._check_names("optimizer", state, shapes)
        for name, shape in shapes.items():
            counts = name.endswith(".step")
            self._check_tensor(f"optimizer.{name}", state[name], shape, None if counts else torch.float32)
            if counts and float(state[name]) != min(step, COUNTED):
                self._refuse(f"optimizer.{name} is {float(state[name]):g} at step {step}")
            if not name.endswith(".exp_avg") and bool((state[name] < 0).any()):
                self._refuse(f"optimizer.{name} is negative")

    def check_random(self, device: torch.device) -> None:
        """A state that the generators of the CPU and of the device take."""
        self._check_generator(RANDOM, "cpu")
        if RANDOM_CUDA in self._tensors and device.type == "cuda":
            self._check_generator(RANDOM_CUDA, device)

    def check_stream(self, part: str, stream: Stream) -> None:
        """Where the rows are, what is cached and what is remembered."""
        inside = {"reader", "cache"} | ({"memory"} if stream.bank else set())
        self._check_names(part, {name.partition(".")[0] for name in self.of(part)}, inside)
        self._check_like(f"{part}.reader", stream.reader.state_dict())
        self._check_like(f"{part}.cache", stream.cache.state_dict(), any_float=True)
        filled, length = self.of(f"{part}.cache")["filled"], stream.cache.length
        if bool(((filled < 0) | (filled > length)).any()):
            self._refuse(f"{part}.cache.filled should be from 0 to {length}, got {filled.tolist()}")
        for layer, memory in stream.bank.items():
            self._check_memory(f"{part}.memory.{layer}", memory)
        try:
            stream.reader.check_state(self.of(f"{part}.reader"))
        except CheckpointError as error:
            raise CheckpointError(f"{self._path} does not fit this run: {error}") from None

    def _check_memory(self, part: str, memory: Memory) -> None:
        state, empty, shape = self.of(part), memory.state_dict(), memory.shape
        self._check_names(part, state, empty)
        for name in {"shape", "format"} & state.keys():
            if state[name].dtype != empty[name].dtype or not torch.equal(state[name], empty[name].cpu()):
                self._refuse(f"{part}.{name} should be {empty[name].tolist()}, got {state[name].tolist()}")
        written = state["written"]
        self._check_tensor(f"{part}.written", written, tuple(empty["written"].shape), empty["written"].dtype)
        if bool(((written < 0) | (written > MOST_WRITTEN)).any()):
            self._refuse(f"{part}.written should be counts, got {written.tolist()}")
        longest = int(written.clamp(max=shape.capacity).max())
        for name, dim in (("keys", shape.key_dim), ("values", shape.value_dim)):
            self._check_tensor(f"{part}.{name}", state[name], (shape.rows, shape.heads, longest, dim), None)

    def _check_generator(self, name: str, device: torch.device | str) -> None:
        if self._tensors[name].ndim != 1:
            self._refuse(f"{name} is {tuple(self._tensors[name].shape)}, a generator's state has one axis")
        try:
            torch.Generator(device).set_state(self._tensors[name])
        except (RuntimeError, TypeError) as error:
            self._refuse(f"{name} is no state of a generator: {str(error).partition(chr(10))[0]}")

    def _check_like(self, part: str, like: Mapping[str, Tensor], *, any_float: bool = False) -> None:
        state = self.of(part)
        self._check_names(part, state, like)
        for name, other in like.items():
            dtype = None if any_float and other.is_floating_point() else other.dtype
            self._check_tensor(f"{part}.{name}", state[name], tuple(other.shape), dtype)

    def _check_names(self, part: str, came: Iterable[str], expected: Iterable[str]) -> None:
        there, wanted = set(came), set(expected)
        for name in sorted(there ^ wanted):
            self._refuse(
                f"it lacks {part}.{name}" if name in wanted else f"it has {part}.{name}, which this run has not"
            )

    def _check_tensor(self, name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None) -> None:
        """Of this shape and dtype, or of any floating point for None, and finite."""
        if tuple(tensor.shape) != shape:
            self._refuse(f"{name} is {tuple(tensor.shape)}, the configuration asks for {shape}")
        if tensor.dtype != dtype and (dtype is not None or not tensor.is_floating_point()):
            self._refuse(f"{name} should be {dtype or 'floating point'}, got {tensor.dtype}")
        # Not every type of a byte can be asked itself.
        if tensor.is_floating_point() and not bool(
            (tensor if tensor.itemsize > 1 else tensor.float()).isfinite().all()
        ):
            self._refuse(f"{name} has a number that is not finite")

    def _refuse(self, what: str) -> None:
        raise CheckpointError(f"{self._path} does not fit this run: {what}; use another copy")
