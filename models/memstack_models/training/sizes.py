"""What a run holds, in bytes, part by part: what an estimate shows, and by which a run that cannot fit is refused."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch

from memstack import BackendOptions, ConfigError, MemoryShape
from memstack.plugins.config import MemoryConfig
from memstack.plugins.machine import machine_bytes
from memstack.plugins.registry import registry
from memstack.plugins.room import store_bytes
from memstack.store.storage import StoreOptions
from memstack_models.training.config import RunConfig
from memstack_models.training.parameters import FLOAT, optimizer_bytes, parameter_count

Moment = Literal["backward", "update", "validation"]
Which = Literal["least", "expected"]
MOMENTS: tuple[Moment, ...] = ("backward", "update", "validation")
"""When most is held: once a forward is done, when the optimiser steps, while validating."""
MACHINE = "this machine"
WEIGHTS, ACTIVATIONS, MEMORIES = "its weights and its optimiser", "one step's activations", "its memories"
MENDS = {
    WEIGHTS: "lower model.dim, model.ffn_dim, model.layers or data.vocab_size",
    ACTIVATIONS: "lower train.segment or train.rows, or raise train.accumulation",
    MEMORIES: "lower capacity, model.cache or train.rows, or keep it in a folder (memory.options.folder)",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that a run holds."""

    name: str
    detail: str = ""
    place: str
    """This machine, a device as torch names it, or files of a folder."""
    least: int
    """Bytes that it takes for certain."""
    expected: int | None
    """Bytes that it should take; None where nobody knows before."""
    moments: tuple[Moment, ...] = MOMENTS
    """When it is there."""
    group: str = WEIGHTS
    """As what it is told where there is no room for it."""


class TooLargeError(ConfigError):
    """A run cannot fit into this machine; ``parts`` say why, by the least that each can take."""

    def __init__(self, message: str, parts: Iterable[Part]) -> None:
        super().__init__(message)
        self.parts = tuple(parts)


def refuse_too_large(
    run: RunConfig, vocab_size: int, device: torch.device, memory: MemoryConfig | None, *, training: bool = True
) -> None:
    """TooLargeError, with the bytes, if the run cannot fit into this machine; of what may be less, the least is taken.

    Without ``training`` only weights are looked at, as whoever reads a checkpoint needs them.
    """
    parts = list(run_parts(run, vocab_size, device, memory)) if training else [_weights(run, vocab_size, device)]
    for place in dict.fromkeys(part.place for part in parts):
        there, needed = available(place), most(parts, place, "least")
        if there is not None and needed > there:
            sums = {group: most([part for part in parts if part.group == group], place, "least") for group in MENDS}
            largest = max(sums, key=lambda group: sums[group])
            raise TooLargeError(
                f"this run needs {needed / 1e9:,.1f} GB at least, of which {largest} {sums[largest] / 1e9:,.1f}; there "
                f"are {there / 1e9:,.1f} (more than there is): {MENDS[largest]}",
                parts,
            )


def most(parts: Iterable[Part], place: str, which: Which) -> int:
    """The most bytes that these parts take together in a place, at any moment; what nobody knows counts as 0."""
    inside = [part for part in parts if part.place == place]
    return max(sum(getattr(part, which) or 0 for part in inside if moment in part.moments) for moment in MOMENTS)


def available(place: str) -> int | None:
    """The bytes that there are in a place; None where nobody says."""
    if place == MACHINE:
        return machine_bytes()
    return torch.cuda.get_device_properties(place).total_memory if place.startswith("cuda") else None


def run_parts(
    run: RunConfig, vocab_size: int, device: torch.device, memory: MemoryConfig | None, activations: int | None = None
) -> Iterator[Part]:
    """What a training holds. ``activations`` are a step's, where they are known; else they are told by a bound, and
    what an index holds beside its memory is left out."""
    train, place = run.train, place_of(device)
    weights, bound = _weights(run, vocab_size, device), _activations(run, vocab_size)
    yield weights
    parted: tuple[Moment, ...] = ("backward", "update") if train.accumulation > 1 else ("update",)
    yield _exactly("gradients", "once backward is done", place, weights.least, parted)
    state = optimizer_bytes(train, run.model, vocab_size)
    yield _exactly("optimiser", train.optimizer, place, state, MOMENTS if train.steps > 1 else ("update", "validation"))
    parts = f" in {train.accumulation} parts" if train.accumulation > 1 else ""
    yield Part(
        name="activations",
        detail=f"{train.rows} rows x {train.segment:,} tokens{parts}; with the gradients that backward has made so far",
        place=place,
        least=bound,
        expected=bound if activations is None else activations,
        moments=("backward",),
        group=ACTIVATIONS,
    )
    known = activations is not None
    yield from _remembered(run, train.rows, train.accumulation, device, memory, known)
    if train.validate_every and train.validate_every <= train.steps:
        yield from _validation(run, device, memory, known)


def place_of(device: torch.device) -> str:
    """What a device's memory is called."""
    return MACHINE if device.type == "cpu" else str(device)


def _exactly(name: str, detail: str, place: str, taken: int, moments: tuple[Moment, ...] = MOMENTS) -> Part:
    return Part(name=name, detail=detail, place=place, least=taken, expected=taken, moments=moments)


def _weights(run: RunConfig, vocab_size: int, device: torch.device) -> Part:
    count = parameter_count(run.model, vocab_size)
    return _exactly("model", f"{count:,} parameters, float32", place_of(device), FLOAT * count)


def _activations(run: RunConfig, vocab_size: int) -> int:
    """At least: what a part of a step keeps for backward, logits, and positions of local scores, which rows share."""
    model, train = run.model, run.train
    tokens = train.rows // train.accumulation * train.segment
    layers = 1 if train.checkpoint_activations == "all" else model.layers
    kept = tokens * (layers * (2 * model.dim + model.ffn_dim) + vocab_size) * (4 if train.precision == "float32" else 2)
    found = tokens * model.heads * run.memory.neighbours * 12 * bool(model.memory_layers)
    return kept + found + train.segment * (train.segment + model.cache) * (8 + 4 * model.heads)


def _remembered(
    run: RunConfig, rows: int, banks: int, device: torch.device, memory: MemoryConfig | None, indices: bool
) -> Iterator[Part]:
    """Cache and full memories of so many rows, in so many banks; and the indices, which nobody knows a bound of."""
    model = run.model
    yield _cache(run, rows, device)
    if memory is None:
        return
    options = registry().options(memory.backend, registry().place_options(memory.backend, memory.options, device))
    dims = {"key_dim": model.head_dim, "value_dim": model.head_dim, "capacity": -(-memory.capacity // memory.shards)}
    shape = MemoryShape(rows=rows // banks, heads=model.kv_heads, **dims)
    numbers = f"{rows} rows x {shape.heads} heads x {shape.capacity:,} entries x ({shape.key_dim} + {shape.value_dim})"
    index = registry().index_bytes(memory.backend, shape, options) if indices else None
    for layer in model.memory_layers:
        yield _memory(layer, numbers, banks, shape, options)
        if indices:
            yield Part(
                name=f"index of layer {layer}",
                detail=memory.backend,
                place=MACHINE if index is None else _kept_in(options),
                least=0,
                expected=None if index is None else banks * index,
                group=MEMORIES,
            )


def _memory(layer: int, numbers: str, banks: int, shape: MemoryShape, options: BackendOptions) -> Part:
    name = f"memory of layer {layer}"
    if not isinstance(options, StoreOptions):  # of a storage of its own nothing is known
        return Part(name=name, detail=numbers, place=MACHINE, least=0, expected=None, group=MEMORIES)
    taken = banks * store_bytes(shape, options.dtype)
    part = _exactly(name, f"{numbers}, {options.dtype}", _kept_in(options), taken)
    return replace(part, group=MEMORIES)


def _validation(run: RunConfig, device: torch.device, memory: MemoryConfig | None, indices: bool) -> Iterator[Part]:
    """What validating holds beside the training: as many rows as there are documents, at the most."""
    rows = min(run.eval.rows, run.eval.documents or run.eval.rows)
    least = {part.name: part.least for part in _remembered(run, 1, 1, device, memory, False)}
    for part in _remembered(run, rows, 1, device, memory, indices):
        name = f"validation: {part.name}"
        yield replace(part, name=name, least=least.get(part.name, 0), moments=("validation",))


def _cache(run: RunConfig, rows: int, device: torch.device) -> Part:
    """Keys and values of every layer, the last key before it is smeared, and how full it is."""
    model = run.model
    row = model.layers * model.kv_heads * (2 * model.cache + 1) * model.head_dim * FLOAT + 8
    numbers = f"{model.layers} layers x {rows} rows x {model.kv_heads} heads x {model.cache:,} tokens"
    part = _exactly(
        "cache", f"{numbers} x ({model.head_dim} + {model.head_dim}), float32", place_of(device), rows * row
    )
    return replace(part, group=MEMORIES)


def _kept_in(options: BackendOptions) -> str:
    """Where a store keeps its numbers, and an index that is known what it keeps beside them."""
    folder = getattr(options, "folder", None)
    return f"files in {folder}" if folder is not None else place_of(torch.device(getattr(options, "device", "cpu")))
