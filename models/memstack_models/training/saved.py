"""Whether what a checkpoint holds is what a run would have saved: all of it is looked at before any is taken over."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from memstack import Memory
from memstack_models.data.errors import CheckpointError
from memstack_models.training.manifest import Shape
from memstack_models.training.optimizers import state_shapes
from memstack_models.training.ranks import Ranks
from memstack_models.training.rows import row_name
from memstack_models.training.stream import Stream, sub_state

RANDOM = re.compile(r"rank\.\d+\.random(\.cuda)?")
COUNTED = 1 << 24
"""So far an optimiser counts its steps, in float32."""
MOST_WRITTEN = 1 << 53
OF_ROW = {"keys", "values", "written"}
"""What is kept of a row of a memory."""


def random_name(rank: int, device: str = "") -> str:
    """What the state of a rank's generator is called, on the CPU or on a device."""
    return f"rank.{rank}.random" + (f".{device}" if device else "")


class SavedState:
    """The tensors of a checkpoint that are wanted here, and the whole ``shapes`` of all, by the names a run gives them.

    Every check raises CheckpointError, in one line that names the file and the tensor.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> None:
        self.path, self.tensors, self._shapes = path, tensors, shapes

    def of(self, part: str) -> dict[str, Tensor]:
        """Return a part's tensors under the names that they have in it."""
        return sub_state(self.tensors, part)

    def random(self, ranks: Ranks) -> tuple[Tensor, Tensor | None] | None:
        """The states of this group's generators, of the CPU and of CUDA; None if others so many have saved."""
        own = random_name(ranks.speaker)
        return (self.tensors[own], self.tensors.get(f"{own}.cuda")) if self._savers == ranks.size else None

    @property
    def _savers(self) -> int:
        """How many ranks have saved it."""
        return sum(name.endswith(".random") for name in self._shapes if RANDOM.fullmatch(name))

    def check_names(self, streams: Sequence[Stream]) -> None:
        """Refuse weights without the rest of a run, and tensors that belong to no part of it or to no row of it."""
        if random_name(0) not in self._shapes:
            raise CheckpointError(f"{self.path.parent} holds exported weights only: they can be evaluated, not resumed")
        rows = {f"row.{row}" for stream in streams for row in stream.all_rows}
        readers = tuple(f"{stream.name_of_reader}." for stream in streams)
        for name in sorted(self._shapes):
            of_row = name.startswith("row.") and ".".join(name.split(".")[:2]) in rows
            if not (of_row or name.startswith(("model.", "optimizer.", *readers)) or RANDOM.fullmatch(name)):
                self._refuse(f"it has {name}, which this run has not")

    def check_model(self, model: nn.Module) -> None:
        """Names, shapes and types of all weights, and that they are finite."""
        self._check_like("model", model.state_dict())

    def check_optimizer(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Mapping[str, nn.Parameter],
        step: int,
        idle: Collection[str],
    ) -> None:
        """The state of every parameter at this step; those that are ``idle`` have none."""
        stepped = [(name, each) for name, each in parameters.items() if step and name not in idle]
        shapes = {f"{name}.{kept}": shape for name, p in stepped for kept, shape in state_shapes(optimizer, p).items()}
        state = self.of("optimizer")
        self._check_names("optimizer", sub_state(self._shapes, "optimizer"), shapes)
        for name, shape in shapes.items():
            counts = name.endswith(".step")
            self._check_tensor(f"optimizer.{name}", shape, None if counts else torch.float32)
            if counts and float(state[name]) != min(step, COUNTED):
                self._refuse(f"optimizer.{name} is {float(state[name]):g} at step {step}")
            if not name.endswith(".exp_avg") and bool((state[name] < 0).any()):
                self._refuse(f"optimizer.{name} is negative")

    def check_random(self, ranks: Ranks, device: torch.device) -> None:
        """A state that the generators of the CPU and of the device take."""
        saved = [random_name(rank) for rank in range(self._savers)]
        self._check_names("rank", (name for name in self._shapes if name.endswith(".random")), saved)
        if (states := self.random(ranks)) is not None:
            self._check_generator(random_name(ranks.speaker), "cpu")
            if states[1] is not None and device.type == "cuda":
                self._check_generator(random_name(ranks.speaker, "cuda"), device)

    def check_stream(self, stream: Stream) -> None:
        """Where the rows are, what is cached and what is remembered."""
        self._check_like(stream.name_of_reader, stream.reader.state_dict())
        cached = {name: tensor[0] for name, tensor in stream.cache.state_dict().items()}
        remembered = {f"memory.{layer}.{name}" for layer in stream.bank for name in OF_ROW}
        for row in stream.all_rows:
            names = {f"cache.{name}" for name in cached} | remembered
            self._check_names(row_name(row, "")[:-1], sub_state(self._shapes, row_name(row, "")[:-1]), names)
        for row in stream.rows:
            self._check_like(part := row_name(row, "cache"), cached, any_float=True)
            filled, length = int(self.tensors[f"{part}.filled"]), stream.cache.length
            if not 0 <= filled <= length:
                self._refuse(f"{part}.filled should be from 0 to {length}, got {filled}")
            for layer, memory in stream.bank.items():
                self._check_memory(row_name(row, f"memory.{layer}"), memory)
        try:
            stream.reader.check_state(self.of(stream.name_of_reader))
        except CheckpointError as error:
            raise CheckpointError(f"{self.path} does not fit this run: {error}") from None

    def _check_memory(self, part: str, memory: Memory) -> None:
        shape = memory.shape
        self._check_tensor(f"{part}.written", (), torch.int64)
        written = int(self.tensors[f"{part}.written"])
        if not 0 <= written <= MOST_WRITTEN:
            self._refuse(f"{part}.written should be a count, got {written}")
        for name, dim in (("keys", shape.key_dim), ("values", shape.value_dim)):
            self._check_tensor(f"{part}.{name}", (shape.heads, min(written, shape.capacity), dim), None)

    def _check_generator(self, name: str, device: torch.device | str) -> None:
        if self.tensors[name].ndim != 1:
            self._refuse(f"{name} is {tuple(self.tensors[name].shape)}, a generator's state has one axis")
        try:
            torch.Generator(device).set_state(self.tensors[name])
        except (RuntimeError, TypeError) as error:
            self._refuse(f"{name} is no state of a generator: {str(error).partition(chr(10))[0]}")

    def _check_like(self, part: str, like: Mapping[str, Tensor], *, any_float: bool = False) -> None:
        self._check_names(part, sub_state(self._shapes, part), like)
        for name, other in like.items():
            dtype = None if any_float and other.is_floating_point() else other.dtype
            self._check_tensor(f"{part}.{name}", tuple(other.shape), dtype)

    def _check_names(self, part: str, came: Iterable[str], expected: Iterable[str]) -> None:
        there, wanted = set(came), set(expected)
        for name in sorted(there ^ wanted):
            self._refuse(
                f"it lacks {part}.{name}" if name in wanted else f"it has {part}.{name}, which this run has not"
            )

    def _check_tensor(self, name: str, shape: Shape, dtype: torch.dtype | None) -> None:
        """As a whole of this shape, of this dtype or, for None, of any floating point, and finite."""
        if self._shapes[name] != shape:
            self._refuse(f"{name} is {self._shapes[name]}, the configuration asks for {shape}")
        tensor = self.tensors[name]
        if tensor.dtype != dtype and (dtype is not None or not tensor.is_floating_point()):
            self._refuse(f"{name} should be {dtype or 'floating point'}, got {tensor.dtype}")
        # Not every type of a byte can be asked itself.
        if tensor.is_floating_point() and not bool(
            (tensor if tensor.itemsize > 1 else tensor.float()).isfinite().all()
        ):
            self._refuse(f"{name} has a number that is not finite")

    def _refuse(self, what: str) -> None:
        raise CheckpointError(f"{self.path} does not fit this run: {what}; use another copy")
