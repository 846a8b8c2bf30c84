"""What is said of a recall: a number where it was measured, exact where it is known to be, else that it was not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_checkpoint import SEGMENT, write_checkpoint
from memstack_models.cli import demo_run
from memstack_models.evaluation.comparison import Comparison, comparison_table, memory_of, recall_text
from memstack_models.evaluation.records import Compared, Milliseconds
from rich.table import Table

from memstack.measure import BASELINES
from memstack.plugins.config import ProbeConfig

MILLISECONDS = Milliseconds(search=1, add=1, worst_add=1)
HNSW = "hnsw,exact_below=16"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    return write_checkpoint(tmp_path)


def compared(*, exact: bool | None, recall: float | None = None) -> Compared:
    return Compared(
        perplexity=2.0,
        bits_per_byte=1.0,
        tokens=3,
        by_position={"0-3": 2.0},
        recall=recall,
        attention_mass_recall=recall,
        exact=exact,
        ms=MILLISECONDS if exact is not None else None,
    )


RESULTS = {
    "none": compared(exact=None),
    "exact/8": compared(exact=True),
    "unknown/8": compared(exact=False),
    "approximate/8": compared(exact=False, recall=0.4912),
}
SAID = ["", "exact", "not measured", "0.491"]


def column(table: Table, title: str) -> list[str]:
    return [str(cell) for each in table.columns if each.header == title for cell in each.cells]


def test_a_recall_that_was_not_measured_is_never_called_exact() -> None:
    assert [recall_text(result, result.recall) for result in RESULTS.values()][1:] == SAID[1:]
    table = comparison_table(RESULTS, "exact", dict.fromkeys(RESULTS, "exact/8"))
    for title in ("recall", "attention mass"):
        assert column(table, title)[1:] == SAID[1:]
    assert column(demo_run.table(RESULTS), "recall") == SAID


@pytest.mark.parametrize("tokens", [2, SEGMENT, SEGMENT + 1])
def test_a_text_in_which_nothing_is_looked_up_measures_no_recall(checkpoint: Path, tokens: int) -> None:
    comparison = Comparison(checkpoint, [f"eval.tokens={tokens}"])
    found = comparison.evaluate(memory_of(HNSW, 64, 4))
    assert (found.recall, found.exact) == (None, False)
    assert comparison.evaluate(memory_of("exact", 64, 4)).exact is True
    assert comparison.evaluate(None).exact is None
    baseline = next(iter(BASELINES.values()))
    assert comparison.evaluate(memory_of("exact", 64, 4), baseline=baseline).exact is False


@pytest.mark.parametrize("segments", [2, 3, 5, 9, 12])
def test_the_recall_of_a_short_text_is_measured(checkpoint: Path, segments: int) -> None:
    comparison = Comparison(checkpoint, [f"eval.tokens={segments * SEGMENT + 1}"])
    found = comparison.evaluate(memory_of(HNSW, 256, 4))
    assert found.recall is not None


def test_a_search_that_finds_too_little_shows_in_a_text_of_a_few_searches(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its first searches are exact, for the index is built later."""
    monkeypatch.setattr("memstack_hnsw.index.HNSWIndex.search", lambda index, queries, k: nothing_found(queries))
    found = Comparison(checkpoint).evaluate(memory_of(HNSW.replace("16", "100"), 256, 4))
    assert found.recall is not None
    assert 0 < found.recall < 1


def nothing_found(queries: Any) -> Any:
    return np.empty((len(queries), 0), dtype=np.int64)


def test_a_long_text_is_probed_as_often_as_asked_for(checkpoint: Path) -> None:
    comparison = Comparison(checkpoint, probe=ProbeConfig(every=2))
    comparison.documents = [tokens.repeat(40) for tokens in comparison.documents]
    assert comparison._dense_probe().every == 2
    assert Comparison(checkpoint, probe=ProbeConfig(every=0)).evaluate(memory_of(HNSW, 64, 4)).recall is None
