"""Snapshot: all that a memory holds at one time, in memory or as a file that holds no code."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from memstack.contract.errors import StateError
from memstack_hf.memory.window import WindowState

REMEMBERED, KEYS, VALUES = "remembered.", "window.keys.", "window.values."


@dataclass(frozen=True)
class Snapshot:
    """What is remembered, what is in sight, and which rows have outgrown the native context."""

    remembered: Mapping[str, Tensor]
    window: WindowState
    far: Bool[Tensor, " rows"]

    @property
    def rows(self) -> int:
        """How many texts are read side by side."""
        return len(self.far)


def to_tensors(snapshot: Snapshot) -> dict[str, Tensor]:
    """Return a snapshot as named tensors, for safetensors."""
    window = snapshot.window
    named = {f"{REMEMBERED}{name}": tensor for name, tensor in snapshot.remembered.items()}
    for index, pair in enumerate(window.layers):
        if pair is not None:
            named[f"{KEYS}{index}"], named[f"{VALUES}{index}"] = pair
    named |= {"window.seen": window.seen, "window.kept": window.kept, "far": snapshot.far}
    named["window.sizes"] = torch.tensor(
        [window.read, window.columns, len(window.layers)], dtype=torch.int64, device="cpu"
    )
    if window.valid is not None:
        named["window.valid"] = window.valid
    return {name: tensor.contiguous() for name, tensor in named.items()}


def from_tensors(named: Mapping[str, Tensor]) -> Snapshot:
    """Put a snapshot together again; StateError if a part is missing."""
    try:
        read, columns, depth = named["window.sizes"].tolist()
        layers = tuple(
            (named[f"{KEYS}{index}"], named[f"{VALUES}{index}"]) if f"{KEYS}{index}" in named else None
            for index in range(depth)
        )
        window = WindowState(
            seen=named["window.seen"],
            kept=named["window.kept"],
            valid=named.get("window.valid"),
            read=read,
            columns=columns,
            layers=layers,
        )
        far = named["far"]
    except (KeyError, ValueError) as error:
        raise StateError(f"this is no memory's contents: {error} is missing or has another shape") from None
    remembered = {name.removeprefix(REMEMBERED): part for name, part in named.items() if name.startswith(REMEMBERED)}
    return Snapshot(remembered, window, far)
