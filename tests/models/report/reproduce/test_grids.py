"""The grids are data that can be built: every cell of every table at every scale, and what was published of it."""

from pathlib import Path

import pytest
from memstack_models.report.reproduce import corpora
from memstack_models.report.reproduce.corpora import given, settings_of, sources
from memstack_models.report.reproduce.grid import Cell, Grid, Scale, load_grid, load_scale, scale_of, tables
from memstack_models.report.reproduce.plan import Request, chosen, configured, plan
from memstack_models.report.reproduce.summary import published_change
from pydantic import ValidationError

from memstack import ConfigError, CorpusError

SCALES: tuple[Scale, ...] = ("tiny", "small", "paper")


def test_all_tables_are_there() -> None:
    assert tables() == ["ablations", "figure1", "figure6", "recall", "sizes", "staleness", "table4", "table5"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", tables())
def test_every_cell_can_be_configured(table: str, scale: Scale) -> None:
    """Also those that are only made when they are named."""
    request = Request(table=table, scale=scale, only=[cell.name for cell in load_grid(table).cells])
    for job in plan(request).jobs:
        assert bool(job.run.model.memory_layers) == bool(job.cell.memory)
        if job.cell.memory:
            assert job.run.memory.capacity == load_scale(scale).entries(job.cell.memory)


@pytest.mark.parametrize("table", tables())
def test_a_grid_says_what_it_asks_and_where_its_figures_are_from(table: str) -> None:
    grid = load_grid(table)
    assert grid.asks.endswith("?")
    assert "2203.08913" in grid.source
    assert {name for cell in grid.cells for each in cell.published.values() for name in each} <= set(sources())


@pytest.mark.parametrize("table", tables())
@pytest.mark.parametrize("scale", SCALES)
def test_a_fair_opponent_has_the_same_context_cache_and_steps(table: str, scale: Scale) -> None:
    """Of the runs together with what they begin from."""
    done = plan(Request(table=table, scale=scale))
    for job in done.jobs:
        if job.cell.against:
            other = done.find(job.cell.against, job.corpus, job.seed)
            assert not other.run.model.memory_layers
            same = "layers", "dim", "heads", "ffn_dim", "cache", "smear_keys"
            assert [getattr(job.run.model, each) for each in same] == [getattr(other.run.model, each) for each in same]
            assert _steps(job) == _steps(other)
            assert (job.run.train.rows, job.run.train.segment) == (other.run.train.rows, other.run.train.segment)


def _steps(job: object) -> int:
    run, source = getattr(job, "run"), getattr(job, "source")  # noqa: B009
    return run.train.steps + (_steps(source) if source else 0)


def test_the_published_gains_are_the_papers() -> None:
    """512 + XL -> + 8k: arXiv -11, PG-19 -3, C4 -9, GitHub -10, Isabelle -15 %."""
    table4 = load_grid("table4")
    gains = {each: published_change(table4, each, "memory-8k", "8192") for each in table4.corpora}
    shown = {name: round(100 * gain) for name, gain in gains.items() if gain is not None}
    assert shown == {"arxiv-math": -11, "pg19": -3, "c4-long": -9, "github": -10, "isabelle": -15}
    longer = published_change(load_grid("table5"), "arxiv-math", "memory-8k-to-65k", "65536")
    assert longer == pytest.approx(2.32 / 2.67 - 1)  # against the shorter opponent: the paper has no longer one


def test_the_opponent_is_one_model_in_all_tables() -> None:
    folders = {
        job.folder
        for table in ("table4", "table5", "figure6", "ablations", "recall", "sizes", "staleness")
        for job in plan(Request(table=table, only=["isabelle", "cache"])).jobs
    }
    assert len(folders) == 1
    others = plan(Request(table="table4", only=["isabelle", "cache"], seeds=2, overrides=["train.steps=7"])).jobs
    assert len({each.folder for each in others} - folders) == 2


def test_only_takes_what_a_cell_needs_along() -> None:
    grid = load_grid("table5")
    found, cells = chosen(grid, Request(table="table5", only=["github", "memory-8k-to-65k"]))
    assert found == ("github",)
    assert [cell.name for cell in cells] == ["cache", "cache-longer", "memory-8k", "memory-8k-to-65k"]


def test_a_cell_leaves_away_what_its_scale_sets() -> None:
    request, scale = Request(table="ablations"), load_scale("small")
    with_age, without = (
        configured(load_grid("ablations").cell(name), request, scale, "isabelle", 0) for name in ("memory-8k", "no-age")
    )
    assert with_age.model.age_init is not None
    assert without.model.age_init is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(table="tabel4"), "there is no table 'tabel4', did you mean 'table4'"),
        (Request(table="table4", only=["isabel"]), "--only takes corpora and cells, got 'isabel'"),
        (Request(table="table4", overrides=["train.stepz=3"]), "train.stepz"),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(request_: Request, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(request_)
    assert message.replace(", did", "") in str(refused.value).replace("; did", "").replace(", did", "")


def test_a_scale_or_a_corpus_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="there is no scale 'huge'"):
        scale_of("huge")
    with pytest.raises(ConfigError, match="there is no corpus 'books'"):
        given(["books=there"])
    with pytest.raises(ConfigError, match="--data takes NAME=SOURCE"):
        given(["isabelle"])


def test_a_checkout_without_samples_says_how_to_name_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(corpora, "CHECKOUT", tmp_path)
    with pytest.raises(CorpusError, match="--data isabelle=FOLDER"):
        settings_of("isabelle", {})


def test_what_is_given_is_a_registered_corpus_or_a_folder_that_the_corpus_of_that_name_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / 'my "texts"').replace('"', '\\"')
    given_ = {"isabelle": 'my "texts"', "pg19": "pg19"}
    assert settings_of("isabelle", given_) == ['data.corpus="isabelle"', f'data.options.path="{path}"']
    assert settings_of("pg19", given_) == ['data.corpus="pg19"']
    assert settings_of("github", {}) == ['data.corpus="python-stdlib"']


def test_what_a_grid_contradicts_itself_in_is_refused() -> None:
    with pytest.raises(ValidationError, match="has no memory"):
        Cell(name="plain", says="", reads=(8192,))
    with pytest.raises(ValidationError, match="published of what"):
        Cell(name="plain", says="", published={"8192": {"isabelle": 2.0}})
    words = {"title": "", "asks": "", "how": "", "source": "", "picture": "sizes", "corpora": ("isabelle",)}
    with pytest.raises(ValidationError, match="no cell before it"):
        Grid.model_validate(words | {"cells": [{"name": "later", "says": "", "against": "cache"}]})
