"""What a training would take on this machine, in bytes and in seconds, before any of it is made."""

import os
from pathlib import Path
from typing import Literal

from memstack.plugins.config import Frozen
from memstack.plugins.records import Record
from memstack_models.data.tokenizer import largest_size, load_tokenizer
from memstack_models.training import bundled, run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.dry_run import dry_run
from memstack_models.training.parameters import parameter_count
from memstack_models.training.sizes import MACHINE, Part, TooLargeError, available, most, run_parts
from memstack_models.training.step_seconds import step_seconds


class PartBytes(Frozen):
    """Something that a run holds."""

    name: str
    detail: str
    place: str
    """This machine, a device, or files in a folder."""
    bytes: int | None
    """What it should take; None where nobody knows before."""
    least: int
    """What it takes for certain."""


class PlaceBytes(Frozen):
    """What a run takes in one place, at its peak, and what there is."""

    bytes: int
    least: int
    there: int | None
    """None where nobody says."""

    @property
    def fits(self) -> bool:
        """False if even the least is more than there is."""
        return self.there is None or self.least <= self.there


class Seconds(Frozen):
    """What a step should take, memories full."""

    model: float
    """Forward and backward, searches apart."""
    search: float
    add: float
    update: float
    total: float


class EstimateRecord(Record):
    """What ``memstack estimate --json`` writes."""

    kind: Literal["estimate"] = "estimate"
    run: str
    """The recipe or folder."""
    parameters: int
    parts: tuple[PartBytes, ...]
    places: dict[str, PlaceBytes]
    seconds: Seconds | None = None
    """Of a step; None where the run does not fit."""

    @property
    def fits(self) -> bool:
        """False if the run is refused."""
        return all(place.fits for place in self.places.values())


def estimate(name: str, overrides: list[str]) -> EstimateRecord:
    """Estimate what the training of a recipe, or of a run folder or shipped checkpoint once more, takes here."""
    run, vocab_size = configured(name, overrides)
    device = pick_device(run.train.device)
    parameters = parameter_count(run.model, vocab_size)
    bound, process = list(run_parts(run, vocab_size, device, run.memory)), _process()
    if not all(place.fits for place in _places(bound).values()):
        return _record(name, parameters, bound)
    dry = dry_run(run, vocab_size)
    parts = [*run_parts(run, vocab_size, device, run.memory, dry.activations_of(run.train.accumulation)), *process]
    took = step_seconds(run, dry, parameters, device)
    seconds = Seconds(**{part: round(spent, 6) for part, spent in (vars(took) | {"total": took.total}).items()})
    return _record(name, parameters, parts, seconds)


def refused(name: str, run: RunConfig, vocab_size: int, error: TooLargeError) -> EstimateRecord:
    """What a run takes at the least that is too large."""
    return _record(name, parameter_count(run.model, vocab_size), list(error.parts))


def configured(name: str, overrides: list[str]) -> tuple[RunConfig, int]:
    """The configuration that a name means, and how many tokens its vocabulary has, or will have at the most."""
    if name in bundled.recipes() or Path(name).is_file():
        run = run_folder.recipe(name, overrides)
        return run, largest_size(run.data.tokenizer, run.data.vocab_size)
    folder = run_folder.find(name)
    if not folder.is_dir():
        return run_folder.recipe(name, overrides), 0  # which says what there is
    return run_folder.read_config(folder, overrides), load_tokenizer(folder).vocab_size


def _record(name: str, parameters: int, parts: list[Part], seconds: Seconds | None = None) -> EstimateRecord:
    told = tuple(
        PartBytes(name=part.name, detail=part.detail, place=part.place, bytes=part.expected, least=part.least)
        for part in parts
    )
    return EstimateRecord(run=name, parameters=parameters, parts=told, places=_places(parts), seconds=seconds)


def _places(parts: list[Part]) -> dict[str, PlaceBytes]:
    """Each place, and what all parts take there at once."""
    places = dict.fromkeys(part.place for part in parts)
    return {
        place: PlaceBytes(
            bytes=most(parts, place, "expected"), least=most(parts, place, "least"), there=available(place)
        )
        for place in places
    }


def _process() -> list[Part]:
    """What Python and its libraries hold already; nothing where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return []
    taken = pages * os.sysconf("SC_PAGE_SIZE")
    return [Part(name="Python and torch", detail="as of now", place=MACHINE, least=0, expected=taken)]
