"""A table of the paper small enough for a test, and made-up numbers of whole tables."""

from pathlib import Path
from typing import Any

from helpers.small_corpus import write_corpus
from memstack_models.report.reproduce.grid import Cell, Scale, load_grid, load_scale
from memstack_models.report.reproduce.plan import Request
from memstack_models.report.reproduce.records import CellOutcome, CurvePoint, Outcome, ReproduceRecord

SMALL = (
    "train.segment=16",
    "model.cache=16",
    "train.rows=2",
    "train.device=cpu",
    "train.log_every=1",
    "train.checkpoint_every=1",
    "train.steps=3",
    "train.validate_tokens=120",
    "model.dim=16",
    "model.ffn_dim=32",
    "memory.neighbours=4",
    "eval.tokens=200",
)


def small_request(folder: Path, table: str = "table4", *only: str, corpora: tuple[str, ...] = ("isabelle",)) -> Request:
    """A request that takes seconds: of these corpora, which are all one folder of three short documents."""
    corpus = folder / "corpus"
    if not corpus.exists():
        write_corpus(corpus, documents=3, words=200)
    return Request(
        table=table,
        scale="tiny",
        only=(*corpora, *only),
        folder=folder / "out",
        data={name: str(corpus) for name in corpora},
        overrides=SMALL,
    )


def made_up_table(table: str, scale: Scale = "small", seeds: int = 1, gain: float = 0.1) -> ReproduceRecord:
    """A table whose memories save so much of the perplexity, a little more the larger they are."""
    grid = load_grid(table)
    corpora = grid.at.get(scale, grid.corpora)
    cells = [cell for cell in grid.cells if scale in cell.scales]
    outcomes = tuple(
        _outcome(cell, corpus, seed, gain) for corpus in corpora for cell in cells for seed in range(seeds)
    )
    config = load_scale(scale)
    return ReproduceRecord(
        table=table,
        scale=scale,
        says=config.says,
        shrink=config.shrink,
        command=f"memstack reproduce {table}",
        grid=grid,
        corpora=corpora,
        seeds=seeds,
        cells=outcomes,
        failures={},
        machine={"processor": "of a test"},
        date="2026-01-01",
    )


def _outcome(cell: Cell, corpus: str, seed: int, gain: float) -> CellOutcome:
    readings = [_reading(str(size) if size else "none", size, gain, seed, bool(cell.against)) for size in cell.sizes]
    for place, search in enumerate(cell.searches):
        made = _reading(search.removeprefix("baseline:"), 8192, gain * (place + 1) / 12, seed, True)
        readings.append(made.model_copy(update={"recall": (place + 1) / 12}))
    curve = tuple(
        CurvePoint(step=60 * i, without=10.0, with_memory=10 - 10 * gain * i / 10 if cell.memory else None)
        for i in range(1, 11)
    )
    return CellOutcome(
        cell=cell.name,
        corpus=corpus,
        seed=seed,
        folder=f"cells/{corpus}-{cell.name}",
        parameters=5_000_000 if "5x" in cell.name else 2_000_000 if "2x" in cell.name else 1_000_000,
        trained_tokens=3_000_000,
        seconds=60.0,
        readings=tuple(readings),
        validation=readings[-1] if cell.validated else None,
        curve=curve if cell.start else (),
        steps=1500,
    )


def _reading(label: str, size: int, gain: float, seed: int, compared: bool) -> Outcome:
    part = gain * (1 + size / 1e6) if size else 0.0
    value = 10 * (1 - part) + 0.01 * seed
    known: dict[str, Any] = (
        {"change": value / 10 - 1, "low": value / 10 - 1.02, "high": value / 10 - 0.98} if compared else {}
    )
    return Outcome(label=label, entries=size, perplexity=value, tokens=1000, recall=1.0 if size else None, **known)
