"""Grid: a table or figure of the paper as data: what is trained, from what, read with which memories; and published."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from memstack import ConfigError
from memstack.contract.errors import did_you_mean
from memstack.plugins import config as configuration
from memstack.plugins.config import Frozen

GRIDS, SCALES = Path(__file__).parent / "grids", Path(__file__).parent / "scales.toml"
Scale = Literal["tiny", "small", "paper"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Texts = tuple[str, ...]


class Cell(Frozen):
    """A model that is trained, once for each corpus and seed, and the memories it is read with."""

    name: Name
    says: str
    """What it is, in words."""
    memory: NonNegativeInt = 0
    """Entries that it is trained with, in the paper's sizes; 0 is a model without memory layers."""
    set: Texts = ()
    """Settings over those of the scale, as ``--set`` takes them."""
    at: Mapping[Scale, Texts] = {}
    """Further ones, by scale."""
    leave: Texts = ()
    """Keys that the scale sets of a memory and this cell does not."""
    start: Annotated[Name | None, Field(alias="from")] = None
    """The cell whose weights it begins with."""
    against: Name | None = None
    """Its fair opponent: the cell of the same context, cache and tokens without a memory."""
    reads: tuple[NonNegativeInt, ...] = ()
    """Entries of the memories that it is read with, in the paper's sizes; 0 is none. Its own, and none, by default."""
    searches: Texts = ()
    """Other backends that search its own memory, as ``hnsw,ef_search=16``; or ``baseline:`` and a baseline's name."""
    scales: tuple[Scale, ...] = ("tiny", "small", "paper")
    """Where it is made without being named."""
    validated: bool = False
    """Also read what training validates on, to compare with the curve of another."""
    published: Mapping[str, Mapping[str, PositiveFloat]] = {}
    """The paper's perplexities, by entries read and corpus."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """What it is read with: entries, none first."""
        return tuple(sorted(set(self.reads) or {0, self.memory}))

    @model_validator(mode="after")
    def _check(self) -> "Cell":
        if not self.memory and (any(self.sizes) or self.searches):
            raise ValueError(f"cell {self.name} has no memory, so it is read with none")
        if unread := set(self.published) - {str(size) for size in self.sizes}:
            raise ValueError(
                f"cell {self.name} is not read with {', '.join(sorted(unread))} entries: published of what?"
            )
        return self


class Point(Frozen):
    """A mark of a published figure: what was read off it, or said of it."""

    series: str
    x: float
    y: float
    """In per cent, as the picture has it."""


class Grid(Frozen):
    """A table or figure of the paper."""

    title: str
    asks: str
    """What it is to find out."""
    how: str
    """How to read it."""
    source: str
    """Where the published figures are from."""
    picture: Literal["sizes", "cells", "steps", "models", "recall"]
    corpora: tuple[Name, ...]
    """That it is made on unless others are named."""
    at: Mapping[Scale, tuple[Name, ...]] = {}
    """The same of a scale, where that differs."""
    cells: tuple[Cell, ...]
    points: tuple[Point, ...] = ()
    """Published marks that are no perplexities."""
    published: Texts = ()
    """What was published in words."""

    def cell(self, name: str) -> Cell:
        """The cell of that name."""
        return next(cell for cell in self.cells if cell.name == name)

    @model_validator(mode="after")
    def _check(self) -> "Grid":
        seen: set[str] = set()
        for cell in self.cells:
            if cell.name in seen:
                raise ValueError(f"cell {cell.name} is there twice")
            if unknown := {name for name in (cell.start, cell.against) if name} - seen:
                raise ValueError(f"cell {cell.name} names {', '.join(sorted(unknown))}, which is no cell before it")
            seen.add(cell.name)
        return self


class ScaleConfig(Frozen):
    """How large everything is: a recipe, and what is set over it."""

    says: str
    recipe: str
    shrink: PositiveInt = 1
    """What the paper's memory sizes are divided by."""
    threads: NonNegativeInt = 1
    """Of each cell, where cells are made side by side; 0 gives one cell the whole machine."""
    set: Texts = ()
    with_memory: Texts = ()
    """Of the models that have a memory."""
    of_corpus: Mapping[Name, Texts] = {}
    """Of single corpora."""

    def entries(self, size: int) -> int:
        """A size of the paper's at this scale."""
        return size // self.shrink


class Scales(Frozen):
    """The file of scales."""

    tiny: ScaleConfig
    small: ScaleConfig
    paper: ScaleConfig


def tables() -> list[str]:
    """Return the names of the grids."""
    return sorted(path.stem for path in GRIDS.glob("*.toml"))


def load_grid(table: str) -> Grid:
    """Read a grid by name; ConfigError for one that there is not."""
    if table not in tables():
        raise ConfigError(f"there is no table {table!r}{did_you_mean(table, tables())} (known: {', '.join(tables())})")
    return configuration.load(Grid, GRIDS / f"{table}.toml")


def scale_of(name: str) -> Scale:
    """Return a scale by name; ConfigError for one that there is not."""
    for scale in get_args(Scale):
        if scale == name:
            return scale
    known = get_args(Scale)
    raise ConfigError(f"there is no scale {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")


def load_scale(scale: Scale) -> ScaleConfig:
    """Read what a scale is."""
    return getattr(configuration.load(Scales, SCALES), scale)
