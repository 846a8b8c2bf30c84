"""What the page of a table says, and its pictures show, of made-up numbers."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
from helpers.small_table import made_up_table
from matplotlib.axes import Axes
from matplotlib.text import Text
from memstack_models.report.layout import LAYOUTS, Layout
from memstack_models.report.reproduce.conclusions import conclusions
from memstack_models.report.reproduce.curves import closed, steps_to
from memstack_models.report.reproduce.figures import FIGURES, draw
from memstack_models.report.reproduce.grid import tables
from memstack_models.report.reproduce.markdown import page_text
from memstack_models.report.reproduce.records import ReproduceRecord
from memstack_models.report.reproduce.summary import change, percent
from memstack_models.report.style import LIGHT, themed


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def is_shown(axes: Axes, tick: Text) -> bool:
    low, high = sorted(axes.get_xlim())
    return bool(axes.axison) and low <= tick.get_position()[0] <= high


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("table", tables())
def test_every_table_has_a_picture_without_texts_that_leave_it(table: str, layout: Layout) -> None:
    record = made_up_table(table)
    with themed(LIGHT):
        figure = FIGURES[record.grid.picture](record, layout)
        assert figure is not None
        figure.draw_without_rendering()
        width, height = figure.get_size_inches() * figure.dpi
        ticks = [each for axes in figure.axes for each in axes.get_xticklabels() if is_shown(axes, each)]
        for text in [*ticks, *figure.texts]:
            box = text.get_window_extent()
            assert box.x0 > -2
            assert box.x1 < width + 2
            assert box.y0 > -2
            assert box.y1 < height + 2


def test_a_table_of_which_nothing_is_made_has_none() -> None:
    for table in tables():
        empty = made_up_table(table).model_copy(update={"cells": (), "failures": {"isabelle cache seed 0": "no luck"}})
        assert draw(empty, LAYOUTS[0]) is None
        assert "no luck" in page_text(empty, [])
        assert list(conclusions(empty)) == []


@pytest.mark.parametrize("table", tables())
def test_the_published_figures_stand_beside_ours(table: str) -> None:
    record = made_up_table(table, "paper")
    page = page_text(record, ["wide.png", "narrow.png"])
    for cell in record.grid.cells:
        for each in cell.published.values():
            for corpus, value in each.items():
                if corpus in record.corpora and any(one.cell == cell.name for one in record.cells):
                    assert any(cell.name in line and f"{value:.2f} |" in line for line in page.splitlines())
    assert record.grid.source in page
    assert 'srcset="narrow.png"' in page
    assert record.command in page


def test_gains_reach_the_paper_or_fall_short() -> None:
    said = " ".join(conclusions(made_up_table("table4", gain=0.12)))
    assert (
        "isabelle, memory-8k: -12.1 % ± 2.0 of perplexity against cache; the paper has -15.4 %: it falls short" in said
    )
    assert "pg19, memory-8k: -12.1 % ± 2.0 of perplexity against cache; the paper has -3.3 %: reached" in said
    assert "isabelle, memory-8k: perplexity falls with every step of memory size from none to 256k" in said
    worse = " ".join(conclusions(made_up_table("table4", gain=-0.1)))
    assert "it does not gain at all" in worse
    assert "perplexity does not fall from none to 512" in worse


def test_a_gain_that_the_memory_does_not_make_is_called_one() -> None:
    """A model that is as good with its memory off has learned better, by luck: it is not what it retrieves."""
    record = made_up_table("table4", gain=0.12)
    off = tuple(
        one.model_copy(
            update={
                "readings": tuple(
                    each.model_copy(update={"change": -0.1}) if each.label == "none" and one.cell != "cache" else each
                    for each in one.readings
                )
            }
        )
        for one in record.cells
    )
    said = " ".join(conclusions(record.model_copy(update={"cells": off})))
    assert "cache (-10.0 % with its memory off: most of it is not what is retrieved); the paper has" in said
    assert "with its memory off" not in " ".join(conclusions(record))


def test_what_models_were_trained_on_is_said() -> None:
    record = made_up_table("table4")
    one = record.cells[0].model_copy(update={"device": "a large card"})
    line = next(
        line for line in page_text(record.model_copy(update={"cells": (one,)}), []).splitlines() if "card" in line
    )
    assert line == f"| cache | {record.grid.cell('cache').says} | a large card | 1,000,000 | 3,000,000 | 1.0 min |"


def test_a_page_of_one_value_is_drawn_without_a_warning() -> None:
    """As while a table is made: of a model that has been read with its memory off alone."""
    record = made_up_table("table4")
    opponent, one = (each for each in record.cells[:2])
    off = one.readings[0].model_copy(update={"low": None, "high": None})
    later = [each.model_copy(update={"perplexity": None, "change": None}) for each in one.readings[1:]]
    begun = one.model_copy(update={"readings": (off, *later)})
    draw(record.model_copy(update={"cells": (opponent, begun)}), LAYOUTS[0])


def test_seeds_give_a_mean_and_a_deviation() -> None:
    found = change(made_up_table("table4", seeds=3), "isabelle", "memory-8k", "8192")
    assert found is not None
    assert found.seeds == 3
    assert found.spread == pytest.approx(0.001, rel=0.01)
    assert "3 seeds" in page_text(made_up_table("table4", seeds=3), [])


def test_a_models_size_is_compared() -> None:
    record = made_up_table("figure1", gain=0.1)
    assert any(
        "is better than the largest model without a memory, of 5.0 times" in each for each in conclusions(record)
    )
    better = tuple(
        one.model_copy(
            update={"readings": tuple(each.model_copy(update={"perplexity": 8.0}) for each in one.readings)}
            if one.cell == "cache-5x"
            else {}
        )
        for one in record.cells
    )
    said = conclusions(record.model_copy(update={"cells": better}))
    assert any("a model without a memory of 5.0 times its size is as good as memory-8k" in each for each in said)


def test_the_gap_closes_by_steps() -> None:
    record = made_up_table("figure6")
    points = closed(record, "isabelle", "given-8k")
    assert points[0] == (pytest.approx(4.0), pytest.approx(0.1, rel=0.02))
    assert steps_to(points, 0.85) == pytest.approx(36.0)
    assert steps_to(points, 2.0) is None
    assert any("85% of the gap closes within 36 %" in each for each in conclusions(record))
    assert any("no gap to close" in each for each in conclusions(made_up_table("figure6", gain=-0.1)))


def test_what_an_opponent_differs_in_is_said() -> None:
    record: ReproduceRecord = made_up_table("table4")
    unfair = tuple(one.model_copy(update={"differs": ("model.cache is 0, not 256",)}) for one in record.cells)
    assert "differ in more than the memory: model.cache is 0" in page_text(
        record.model_copy(update={"cells": unfair}), []
    )


def test_no_change_is_a_zero_with_a_plus() -> None:
    assert percent(-0.0001) == "+0.0 %"
    assert percent(-0.112) == "-11.2 %"
