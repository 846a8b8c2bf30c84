"""Plan: the models that a table asks for, with configurations and places, those that others need first."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from memstack import ConfigError
from memstack.contract.errors import did_you_mean
from memstack.plugins.config import plain
from memstack_models.report.reproduce.corpora import CHECKOUT, settings_of, sources
from memstack_models.report.reproduce.grid import Cell, Grid, Scale, ScaleConfig, load_grid, load_scale
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.identity import deciding

NO_MEMORY = (
    "combine",
    "gate_init",
    "gate_form",
    "largest_share",
    "memory_bias_init",
    "age_init",
    "candidates",
    "empty_memory",
    "cached_twice",
)
"""Keys of a model that mean nothing where no layer has a memory, beside the whole of ``[memory]``."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for."""

    table: str
    scale: Scale = "small"
    only: Sequence[str] = ()
    """Corpora or cells; none is all that the grid has at this scale."""
    seeds: int = 1
    folder: Path = Path("runs/reproduce")
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other sources of corpora, by name."""
    overrides: Sequence[str] = ()
    """Settings over all others, of every cell."""


@dataclass(frozen=True)
class Job:
    """One model: a cell on a corpus, with a seed."""

    cell: Cell
    corpus: str
    seed: int
    run: RunConfig
    source: "Job | None"
    """What it begins from."""
    folder: Path
    """Where it is kept, by what decides it: the same model of another table is the same folder."""
    entries: Mapping[int, int]
    """What the sizes of the grid are at this scale."""

    @property
    def name(self) -> str:
        """What lines about it call it."""
        return f"{self.corpus} {self.cell.name} seed {self.seed}"

    @cached_property
    def digest(self) -> str:
        """Of all that decides the model: another one is made anew."""
        return digest_of(self.run, self.source)


@dataclass(frozen=True)
class Plan:
    """All of a table's models, in an order in which none comes before what it begins from."""

    request: Request
    grid: Grid
    scale: ScaleConfig
    corpora: tuple[str, ...]
    jobs: tuple[Job, ...]

    def find(self, cell: str, corpus: str, seed: int) -> Job:
        """The job of a cell."""
        return next(job for job in self.jobs if (job.cell.name, job.corpus, job.seed) == (cell, corpus, seed))


def plan(request: Request) -> Plan:
    """Configure every cell; ConfigError or CorpusError, before anything is made, for what cannot be."""
    grid, scale = load_grid(request.table), load_scale(request.scale)
    corpora, cells = chosen(grid, request)
    jobs: list[Job] = []
    for corpus in corpora:
        for seed in range(request.seeds):
            _add(jobs, cells, request, scale, corpus, seed)
    return Plan(request, grid, scale, corpora, tuple(jobs))


def chosen(grid: Grid, request: Request) -> tuple[tuple[str, ...], tuple[Cell, ...]]:
    """Return the corpora and cells of a table that are asked for, with those that they are compared with or need."""
    names = {cell.name for cell in grid.cells}
    known = [*sources(), *names]
    for name in request.only:
        if name not in known:
            raise ConfigError(
                f"--only takes corpora and cells, got {name!r}{did_you_mean(name, known)}; corpora: "
                f"{', '.join(sources())}; cells of {request.table}: {', '.join(cell.name for cell in grid.cells)}"
            )
    usual = grid.at.get(request.scale, grid.corpora)
    corpora = tuple(dict.fromkeys(name for name in request.only if name in sources())) or usual
    wanted = {name for name in request.only if name in names}
    wanted = wanted or {cell.name for cell in grid.cells if request.scale in cell.scales}
    for cell in reversed(grid.cells):  # what a cell names comes before it
        if cell.name in wanted:
            wanted |= {name for name in (cell.start, cell.against) if name}
    return corpora, tuple(cell for cell in grid.cells if cell.name in wanted)


def configured(cell: Cell, request: Request, scale: ScaleConfig, corpus: str, seed: int) -> RunConfig:
    """Return the configuration of a cell: the scale's recipe, and what is set over it, the request's settings last."""
    remembering = [each for each in scale.with_memory if cell.memory and each.partition("=")[0] not in cell.leave]
    memory = f"memory.capacity={scale.entries(cell.memory)}" if cell.memory else "model.memory_layers=[]"
    settings = [
        *scale.set,
        *scale.of_corpus.get(corpus, ()),
        *remembering,
        memory,
        *cell.set,
        *cell.at.get(request.scale, ()),
    ]
    settings += [*settings_of(corpus, request.data), f"train.seed={seed}", *request.overrides]
    return run_folder.recipe(scale.recipe, settings)


def digest_of(run: RunConfig, source: Job | None) -> str:
    """Return a digest of all that decides a model: its configuration, its text, and what it begins from."""
    tree: dict[str, Any] = deciding(run)
    if not run.model.memory_layers:
        tree.pop("memory", None)
        tree["model"] = {name: value for name, value in tree["model"].items() if name not in NO_MEMORY}
        tree["train"] = {name: value for name, value in tree["train"].items() if name != "distractors"}
    tree["data"] = data = plain(run.data)
    if isinstance(path := data["options"].get("path"), str):  # of the sample, wherever the checkout is
        data["options"] = data["options"] | {"path": path.removeprefix(str(CHECKOUT))}
    tree["validate_every"] = run.train.validate_every  # a curve has the points it has
    tree["from"] = source.digest if source else None
    return digest_of_tree(tree)


def digest_of_tree(tree: Mapping[str, Any]) -> str:
    """Return sixteen hex digits of plain values."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def _add(jobs: list[Job], cells: Iterable[Cell], request: Request, scale: ScaleConfig, corpus: str, seed: int) -> None:
    made: dict[str, Job] = {}
    for cell in cells:
        run = configured(cell, request, scale, corpus, seed)
        source = made[cell.start] if cell.start else None
        folder = request.folder / "cells" / f"{corpus}-{digest_of(run, source)}"
        entries = {size: scale.entries(size) for size in cell.sizes}
        made[cell.name] = Job(cell, corpus, seed, run, source, folder, entries)
        jobs.append(made[cell.name])
