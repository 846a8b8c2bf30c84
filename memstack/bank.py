"""MemoryBank: the memories of a model, one per layer, that are reset, written and saved together."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.errors import CommitError, LayerError, NonFiniteError, ShapeError, StateError, in_one_line
from memstack.contract.finite import inspect_keys
from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.contract.state import check_state
from memstack.contract.validation import Padded, check_reset, check_select
from memstack.plugins.registry import create_memory

KeysValues = tuple[Float[Tensor, "rows heads n key_dim"], Float[Tensor, "rows heads n value_dim"]]


class MemoryBank(Mapping[int, Memory]):
    """The memories of a model by layer: ``bank[layer]`` is one, and what a training step does, it does to all.

    A step resets the rows that start another document, runs the model, which only searches, and commits what the model
    made once backward is done. An empty bank is a model without memory. All memories have the same rows.

    Raises:
        ShapeError: the memories differ in their number of rows.
    """

    def __init__(self, memories: Mapping[int, Memory] | None = None) -> None:
        self._memories = dict(memories or {})
        rows = {layer: memory.shape.rows for layer, memory in self._memories.items()}
        if len(set(rows.values())) > 1:
            raise ShapeError(f"the memories of a bank should have the same rows, got {rows} by layer")

    @classmethod
    def create(cls, backend: str, shape: MemoryShape, layers: Iterable[int], **options: Any) -> Self:
        """Make a memory of this backend, shape and options for each layer.

        Raises:
            UnknownBackendError, BackendUnavailableError, OptionsError: as ``create_memory`` does.
        """
        return cls({layer: create_memory(backend, shape, **options) for layer in layers})

    def wrapped(self, wrap: Callable[[Memory], Memory]) -> "MemoryBank":
        """Return another bank, of what ``wrap`` makes of each memory; this one stays as it is.

        For what differs by layer: ``MemoryBank({layer: ... for layer, memory in bank.items()})``.
        """
        return MemoryBank({layer: wrap(memory) for layer, memory in self._memories.items()})

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have a memory, in the order they were given."""
        return tuple(self._memories)

    def __getitem__(self, layer: int) -> Memory:
        """Return the memory of a layer; LayerError if it has none."""
        if layer not in self._memories:
            raise LayerError(f"layer {layer!r} has no memory; the bank's layers are {list(self._memories)}")
        return self._memories[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._memories)

    def __len__(self) -> int:
        return len(self._memories)

    def reset(self, starts: Bool[Tensor, " rows"] | None = None) -> None:
        """Forget, in every layer, what is stored for the rows that are True, which start anew (all by default).

        Raises:
            ShapeError: ``starts`` is not bool (rows,); nothing was forgotten.
            CommitError: memories failed, as a write in the background does when it is waited for; it names them, and
                the others are reset. A second reset finds nothing in the way.
        """
        for memory in islice(self._memories.values(), 1):  # one look, and one way to the CPU, for all: rows are alike
            starts = check_reset(memory.shape, starts)
        self._in_every_layer("reset", "reset", lambda layer: self._memories[layer].reset(starts))

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Have row i of every layer hold what row ``rows[i]`` held: for beam search, or one text asked many times.

        Raises:
            ShapeError: ``rows`` is not a row's number for every row; nothing was changed.
            CommitError: memories failed; it names them, and the others are done.
        """
        for memory in islice(self._memories.values(), 1):
            rows = check_select(memory.shape, rows)
        self._in_every_layer("select", "selected", lambda layer: self._memories[layer].select(rows))

    def commit(
        self,
        new: Mapping[int, KeysValues],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> None:
        """Append every layer's keys and values to its memory; call it once per segment, after backward.

        All are checked before any is written, and their device is waited for once. ``lengths`` says how many of them
        each row gets where rows differ, the rest being padding on the side that ``padded`` names.

        Interrupted, each memory is whole, but the layers differ: in order, those written so far have the segment, the
        others have not, as ``written`` of each tells. Load the last saved state, or reset the rows.

        Raises:
            LayerError: ``new`` has a layer without memory, or lacks one; nothing was written.
            ShapeError: keys or values do not fit their memory; nothing was written.
            NonFiniteError: keys or values are NaN or infinite, or would be in their store's dtype; nothing was written.
            CommitError: memories failed while they were written; it names them, and the others are written.
        """
        self._check(new, lengths, padded)
        counts = None if lengths is None else lengths.cpu()
        self._in_every_layer(
            "write", "written", lambda layer: self._memories[layer].add(*new[layer], counts, padded=padded)
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything stored, named ``<layer>.<part>``; safe to write with safetensors."""
        states = {layer: memory.state_dict() for layer, memory in self._memories.items()}
        return {f"{layer}.{name}": tensor for layer, state in states.items() for name, tensor in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace everything stored by a saved state.

        Raises:
            StateError: the state has other layers, or does not fit a memory; nothing was changed.
            NonFiniteError: keys or values are NaN or infinite; nothing was changed.
        """
        states: dict[str, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            layer, _, part = name.partition(".")
            states.setdefault(layer, {})[part] = tensor
        if states.keys() != {str(layer) for layer in self._memories}:
            raise StateError(
                f"the state has memories of layers {list(states)}, this bank of {list(self._memories)}; "
                "load it into a bank of the same layers"
            )
        for layer, memory in self._memories.items():
            saved = states[str(layer)]
            try:
                check_state(saved, memory.shape)
                live = saved["written"].long().clamp(max=memory.shape.capacity)
                memory.check_add(saved["keys"], saved["values"], live)
            except (StateError, NonFiniteError) as error:
                raise type(error)(f"layer {layer}: {error}") from None
        for layer, memory in self._memories.items():
            memory.load_state_dict(states[str(layer)])

    def _in_every_layer(self, verb: str, done: str, work: Callable[[int], None]) -> None:
        """Do something to every memory, whatever becomes of the others; CommitError names those that failed."""
        failed: dict[int, Exception] = {}
        for layer in self._memories:
            try:
                work(layer)
            except Exception as error:  # noqa: BLE001 - whatever a backend raises, the other layers have their turn
                failed[layer] = error
        if failed:
            said = "; ".join(f"layer {layer}: {in_one_line(error)}" for layer, error in failed.items())
            others = [layer for layer in self._memories if layer not in failed]
            raise CommitError(
                f"could not {verb} layers {list(failed)}, layers {others} are {done} ({said}); "
                "reset these rows, or load the last saved state"
            ) from next(iter(failed.values()))

    def _check(self, new: Mapping[int, KeysValues], lengths: Tensor | None, padded: Padded) -> None:
        if not all(len(pair) == 2 for pair in _pairs(new)):
            raise LayerError("a commit is {layer: (keys, values)}, the two that each layer made; nothing was written")
        if new.keys() != self._memories.keys():
            raise LayerError(
                f"a commit should have keys and values of layers {list(self._memories)}, got {list(new)}; "
                "nothing was written"
            )
        inspect_keys([part for pair in new.values() for part in pair])
        for layer, (keys, values) in new.items():
            try:
                self._memories[layer].check_add(keys, values, lengths, padded=padded)
            except (ShapeError, NonFiniteError) as error:
                raise type(error)(f"layer {layer}: {error}") from None


def _pairs(new: object) -> Iterable[KeysValues]:
    """What a commit holds; an empty pair, which is refused, for what is no mapping."""
    return cast(Mapping[int, KeysValues], new).values() if isinstance(new, Mapping) else [cast(KeysValues, ())]
