"""A saved memory: what its parts are and whether they fit."""

from collections.abc import Mapping
from dataclasses import astuple

from torch import Tensor

from memstack.contract.errors import StateError
from memstack.contract.shape import MemoryShape


def check_state(state: Mapping[str, Tensor], shape: MemoryShape) -> None:
    """Raise StateError unless the saved state has all its parts and was saved from a memory of this shape."""
    if missing := {"keys", "values", "written", "shape"} - state.keys():
        raise StateError(f"a memory state needs keys, values, written and shape; {', '.join(sorted(missing))} missing")
    saved = tuple(state["shape"].tolist())
    if saved != astuple(shape):
        names = ", ".join(MemoryShape.__dataclass_fields__)
        raise StateError(f"the state was saved from a memory of ({names}) = {saved}, this one has {astuple(shape)}")
    written = state["written"]
    if written.is_floating_point() or tuple(written.shape) != (shape.rows,) or bool((written < 0).any()):
        raise StateError(f"the state's written should be {shape.rows} counts, got {written.tolist()}")
    longest = int(written.clamp(max=shape.capacity).max())
    for name, dim in (("keys", shape.key_dim), ("values", shape.value_dim)):
        expected = (shape.rows, shape.heads, longest, dim)
        if tuple(state[name].shape) != expected:
            raise StateError(f"the state's {name} should be {expected}, got {tuple(state[name].shape)}")
