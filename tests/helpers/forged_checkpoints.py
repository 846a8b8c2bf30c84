"""Checkpoints with a right digest and wrong content, made from a good one: each has to be refused in one line.

``for forgery in forgeries(folder): forgery.write(folder)`` writes one after the other over the folder's checkpoint.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from helpers.kept_checkpoints import Tensors, read, write
from torch import Tensor

Change = Callable[[Tensors], None]
HUGE = 10**400


@dataclass(frozen=True)
class Forgery:
    """A checkpoint that nobody trained."""

    name: str
    tensors: Tensors
    progress: str
    """JSON, or what passes itself off as such."""

    def write(self, folder: Path) -> None:
        """Write it as the checkpoint of a run folder, in the format of the one that is there, with its digests."""
        write(folder, self.tensors, self.progress)


def forgeries(folder: Path) -> Iterator[Forgery]:
    """Every forgery of the folder's checkpoint, which is that of a run with memories, after one step or more."""
    tensors, progress = read(folder)
    for name, text in forged_progress(progress):
        yield Forgery(f"progress: {name}", tensors, text)
    for name in one_of_each_part(tensors):
        for how, change in CHANGES.items():
            if (forged := changed(tensors, name, change)) is not None:
                yield Forgery(f"{name}: {how}", forged, json.dumps(progress))
    for name, change in WHOLE.items():
        change(forged := dict(tensors))
        if forged.keys() != tensors.keys() or any(forged[name] is not tensors[name] for name in forged):
            yield Forgery(name, forged, json.dumps(progress))


def forged_progress(progress: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a checkpoint may say of itself that is no progress of a run."""
    steps: list[Any] = [-1, True, None, "7", 7.5, float("nan"), float("inf"), [7], {}, 1 << 63, 1 << 64, HUGE]
    for step in (*steps, progress["step"] + 1, 0):
        yield f"step {str(step)[:12]}", f'{{"step": {str(HUGE) if step is HUGE else json.dumps(step)}}}'
    yield "no step", "{}"
    yield "another key", json.dumps(progress | {"colour": 3})
    yield "a key twice", f'{{"step": 1, {json.dumps(progress)[1:]}'
    yield "a list", json.dumps([progress])
    yield "a number", "7"
    yield "no JSON", "step 7"
    yield "nothing", ""
    yield "nested deeply", '{"step": ' + "[" * 100_000 + "]" * 100_000 + "}"
    for run in ([], "tiny", 7, {}, {"model": 7}, {"model": {"preset": "tiny"}, "colour": 3}):
        yield f"run {run}", json.dumps(progress | {"run": run})
    if "run" in progress:
        other = json.loads(json.dumps(progress))
        other["run"]["train"]["seed"] += 1
        yield "another seed", json.dumps(other)


def one_of_each_part(tensors: Tensors) -> list[str]:
    """A tensor of each kind: the first of each ending, in each part."""
    kinds: dict[tuple[str, str], str] = {}
    for name in sorted(tensors):
        kinds.setdefault((name.partition(".")[0], name.rpartition(".")[2]), name)
    return list(kinds.values())


def changed(tensors: Tensors, name: str, change: Callable[[Tensor], Tensor | None]) -> Tensors | None:
    """The tensors with one of them changed; None where that changes nothing, as with a NaN among whole numbers."""
    other = change(tensors[name].clone())
    if other is not None and other.dtype == tensors[name].dtype and torch.equal(other, tensors[name]):
        return None
    forged = {each: tensor for each, tensor in tensors.items() if each != name}
    return forged if other is None else forged | {name: other}


def _with(tensor: Tensor, value: float) -> Tensor:
    """The tensor with its first number another; as it is where there is none, or where it cannot be that."""
    if tensor.numel() and (tensor.is_floating_point() or value == int(value)):
        tensor.view(-1)[0] = value
    return tensor


def _not_finite(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: _with(tensor, value) if tensor.is_floating_point() else tensor


def _negative(tensor: Tensor) -> Tensor:
    """Counts and places are none below 0, but a document's number may be -1."""
    return tensor if tensor.is_floating_point() or tensor.dtype == torch.uint8 else _with(tensor, -2)


def _huge(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_floating_point() or tensor.dtype == torch.uint8 else _with(tensor, 1 << 62)


CHANGES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "missing": lambda tensor: None,
    "one more": lambda tensor: torch.cat([tensor.reshape(-1), tensor.reshape(-1)[:1], tensor.new_zeros(1)]),
    "one axis more": lambda tensor: tensor[None],
    "empty": lambda tensor: tensor.new_zeros(0),
    "of another type": lambda tensor: tensor.long() if tensor.is_floating_point() else tensor.float(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "true or false": lambda tensor: tensor.bool(),
    "NaN": _not_finite(torch.nan),
    "infinite": _not_finite(torch.inf),
    "negative": _negative,
    "huge": _huge,
}
"""What is done to one tensor; what leaves it as it was is no forgery."""


def _extra(tensors: Tensors) -> None:
    tensors["extra"] = torch.zeros(3)


def _extra_in_a_part(tensors: Tensors) -> None:
    tensors["optimizer.999.exp_avg"] = torch.zeros(3)


def _once_more(part: str, other: str) -> Change:
    def change(tensors: Tensors) -> None:
        of_one = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
        tensors |= {name.replace(part, other): tensor.clone() for name, tensor in of_one.items()}

    return change


def _without(part: str) -> Change:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.startswith(part)]:
            del tensors[name]

    return change


def _nothing(tensors: Tensors) -> None:
    tensors.clear()


def _random_numbers(tensors: Tensors) -> None:
    for name in tensors.keys() & {"random", "rank.0.random"}:
        tensors[name] = torch.full_like(tensors[name], 255)


WHOLE: dict[str, Change] = {
    "a tensor of no part": _extra,
    "a parameter that is none": _extra_in_a_part,
    "a stream more": _once_more("stream.0", "stream.7"),
    "a row more": _once_more("row.0", "row.17"),
    "a rank more": _once_more("rank.0", "rank.2"),
    "no optimiser": _without("optimizer."),
    "no stream": _without("stream.0."),
    "no row": _without("row.2."),
    "no memory": _without("stream.0.memory."),
    "no memory of a row": _without("row.1.memory."),
    "no generator": _without("rank."),
    "no model": _without("model."),
    "no tensor": _nothing,
    "a generator's state of ones": _random_numbers,
}
"""What is done to all of them."""
