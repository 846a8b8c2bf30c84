"""What the pictures show: labels, limits and legends, wide and narrow; by facts, not by pixels."""

from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from helpers.report_numbers import made_up, point, read, repeated, step
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from memstack_models.cli import demo_run
from memstack_models.evaluation.records import Compared
from memstack_models.report.figures import FIGURES
from memstack_models.report.findings import backend_names, cost_of, perplexity_range
from memstack_models.report.layout import LAYOUTS, NARROW, WIDE, Layout, legend_rows
from memstack_models.report.position_figure import perplexity_by_position
from memstack_models.report.positions import OFF, PositionLine, known_opponent, lines_of
from memstack_models.report.records import Measured
from memstack_models.report.style import LIGHT, series_styles, themed
from memstack_models.training import run_folder

NAMES = ["annoy", "bucketed", "faiss-ivf", "hnsw", "jax", "qdrant", "scann", "usearch", "vamana"]
UNTRAINED = [900.0, 1100, 950, 1050, 1000, 980, 1020, 1010]
with_layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def results_of(names: list[str] = NAMES, untrained: bool = False) -> Measured:
    """Numbers of everything that is drawn, for so many backends."""
    settings = [point("exact", 100, 10.0)]
    for place, name in enumerate(names):
        for knob, recall in ((4, 0.72), (32, 0.9), (128, 0.99)):
            ms = 2.0 + recall * place
            settings.append(point(name, 100, ms, recall, options={"knob": knob}, search_repeats_ms=(ms, 1.2 * ms)))
        settings.append(point(name, 100, 30.0, 0.8, options={"knob": 5}))
    scaling = [
        repeated(name, size, (0.5 + 4 / size**0.5 + i / 9,) * 3)
        for i, name in enumerate(names)
        for size in (10, 100, 1000)
    ]
    texts = UNTRAINED if untrained else [8.0, 9, 10, 11, 12, 10, 9, 11]
    slope = 0.002 if untrained else 0.3
    perplexity = [
        read("memory off", [(1.009 if untrained else 1.7) * each for each in texts], kind="none"),
        read("most recent entries", [(1.004 if untrained else 1.4) * each for each in texts], 0.01, "baseline"),
        read("exact", texts),
        *(read(n, [(1 + slope * (1 - r)) * t for t in texts], r) for n in names for r in (0.56, 0.9, 0.99)),
    ]
    steps = [step(None, 0, [1.0]), *(step(n, size, [1.5, 1.6, 1.7]) for n in ["exact", *names] for size in (32, 64))]
    more = {"settings": tuple(settings), "perplexity": tuple(perplexity), "steps": tuple(steps)}
    return made_up(*scaling).model_copy(update=more)


def drawn(name: str, layout: Layout, results: Measured) -> Figure:
    with themed(LIGHT):
        return FIGURES[name][1](results, series_styles(backend_names(results), LIGHT.ink), layout)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "legend"]


def legend(figure: Figure) -> list[Text]:
    (axes,) = [axes for axes in figure.axes if axes.get_label() == "legend"]
    return list(axes.texts)


def notes(figure: Figure) -> str:
    """What is written below the panels."""
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def labels(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation) and text.get_gid() == "label"]


def box(text: Any, figure: Figure) -> Any:
    canvas: Any = figure.canvas
    return text.get_window_extent(canvas.get_renderer())


@with_layouts
@pytest.mark.parametrize("name", FIGURES)
def test_a_narrow_picture_has_one_panel_a_row_and_letters_that_can_be_read(name: str, layout: Layout) -> None:
    """A screen of 390 px leaves some 350 for a picture."""
    figure = drawn(name, layout, results_of())
    places = [axes.get_position() for axes in panels(figure)]
    rows = {round(place.y0, 2) for place in places}
    assert len(rows) == (len(places) if layout is NARROW else 1)
    pixels = 350 if layout is NARROW else 1000
    smallest = min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text())
    assert smallest * pixels / (72 * figure.get_size_inches()[0]) >= 9


@with_layouts
@pytest.mark.parametrize("count", range(1, 13))
def test_the_legend_has_equal_columns_and_no_name_alone_in_a_row(count: int, layout: Layout) -> None:
    names = [f"backend-{i:02}" for i in range(count)]
    texts = legend(drawn("step-entries", layout, results_of(names)))
    assert [text.get_text() for text in texts] == ["exact", *names]
    rows: dict[float, list[float]] = {}
    for text in texts:
        rows.setdefault(text.get_position()[1], []).append(text.get_position()[0])
    assert min(map(len, rows.values())) > 1
    starts = sorted({round(x, 3) for row in rows.values() for x in row})
    samples = [line for line in texts[0].axes.lines if line.get_gid() == "legend"] if texts[0].axes else []
    assert len({(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in samples}) == count + 1
    gaps = [b - a for a, b in pairwise(starts)]
    assert max(gaps) - min(gaps) < 0.01


def test_rows_of_a_legend_are_as_even_as_can_be() -> None:
    assert [len(row) for row in legend_rows(list("abcdefg"), 6)] == [4, 3]
    assert [len(row) for row in legend_rows(list("abcdefg"), 3)] == [3, 2, 2]
    assert legend_rows([], 3) == []


@with_layouts
@pytest.mark.parametrize("name", FIGURES)
def test_no_label_covers_another_or_is_cut_off(name: str, layout: Layout) -> None:
    figure = drawn(name, layout, results_of(NAMES[:4]))
    canvas: Any = figure.canvas
    canvas.draw()
    for axes in panels(figure):
        boxes = [box(text, figure) for text in labels(axes)]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    for text in [*legend(figure), *figure.texts]:
        extent = box(text, figure)
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1 + 1


def test_a_front_of_one_point_is_labelled_once_and_hollow_marks_are_explained() -> None:
    one = point("one", 100, 5.0, 0.9, options={"knob": 0.99})
    worse = point("one", 100, 9.0, 0.8, options={"knob": 0.5})
    results = made_up().model_copy(update={"settings": (point("exact", 100, 10.0), one, worse)})
    figure = drawn("recall-speed", WIDE, results)
    assert [text.get_text() for text in labels(figure.axes[0])] == ["0.99"]
    assert "Hollow marks: another setting" in notes(figure)
    alone = drawn("recall-speed", WIDE, made_up().model_copy(update={"settings": (point("exact", 100, 10.0), one)}))
    assert "Hollow" not in notes(alone)


@with_layouts
def test_a_crossover_is_written_beside_its_tick(layout: Layout) -> None:
    points = repeated("late", 10, (4.0,) * 3), repeated("late", 100, (2.0,) * 3), repeated("late", 1000, (0.5,) * 3)
    both = panels(drawn("times-entries", layout, made_up(*points)))[2]
    (label,) = labels(both)
    assert label.get_text() == "late: about 320"
    assert label.xy == (pytest.approx(316, rel=0.01), 1.0)
    assert max(map(abs, label.xyann)) < 30


@with_layouts
def test_a_picture_of_perplexity_never_zooms_in_below_the_noise(layout: Layout) -> None:
    """An untrained model, whose perplexities all lie within 0.9 %."""
    results = results_of(untrained=True)
    whole, near = panels(figure := drawn("recall-perplexity", layout, results))
    (exact,) = [one for one in results.perplexity if one.name == "exact"]
    noise = perplexity_range(exact)
    assert noise is not None
    low, high = whole.get_ylim()
    assert low < noise.low < noise.high < high
    assert high - low >= 3 * (noise.high - noise.low)
    low, high = near.get_ylim()
    costs = [found[1] for one in results.perplexity if one.kind == "backend" and (found := cost_of(results, one))]
    assert high - low >= max(3.0, *(300 * (interval.high - interval.low) for interval in costs))
    assert "All of them lie within that." in notes(figure)
    assert "stretched towards 100 %" in notes(figure)


def test_the_spread_is_not_named_where_it_is_not_known() -> None:
    results = results_of(["hnsw"])
    bare = tuple(one.model_copy(update={"segments": None}) for one in results.perplexity)
    figure = drawn("recall-perplexity", WIDE, results.model_copy(update={"perplexity": bare}))
    assert "not known: no losses by segment" in notes(figure)


def test_the_opponent_is_a_line_and_the_memory_switched_off_is_called_this_models() -> None:
    results = results_of(["hnsw"])
    fair = read("plain-run", [13.0] * 8, kind="opponent")
    whole, _ = panels(
        drawn("recall-perplexity", WIDE, results.model_copy(update={"perplexity": (*results.perplexity, fair)}))
    )
    assert {text.get_text() for text in labels(whole)} == {"this model, memory off", "most recent entries", "plain-run"}


def lines(read_on: bool = False) -> list[PositionLine]:
    """A memory off and three on, which read 8,000 tokens, or on to 24k, in pieces."""
    found: list[PositionLine] = []
    end = "4k-7.812k" if not read_on else "4k-16k"
    for name, scale in ((OFF, 2.0), ("exact/256", 1.2), ("exact/8192", 1.0), ("hnsw/8192", 1.01)):
        segments = read("any", [scale * (8 + i % 5) for i in range(240 if read_on else 80)]).segments
        places = {"0-1k": scale * 10, "1k-4k": scale * 9.5, end: scale * 9} | (
            {"16k-24k": scale * 8} if read_on else {}
        )
        found.append(PositionLine(name, places, segments, "off" if name == OFF else "memory"))
    return found


@with_layouts
def test_a_picture_by_position_names_what_was_read(layout: Layout) -> None:
    figure = perplexity_by_position(lines(), LIGHT.ink, layout)
    (axes,) = panels(figure)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0-1k", "1k-4k", "4k-7.812k"]
    assert [text.get_text() for text in legend(figure)] == [OFF, "exact/256", "exact/8192", "hnsw/8192"]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 20
    drawn: list[Any] = [line for line in axes.lines if line.get_linestyle() != "None"]
    starts = {round(float(line.get_xdata()[0]), 3) for line in drawn}
    assert len(starts) >= 4  # beside one another: none hides another
    assert "Bars: nineteen of twenty" in notes(figure)
    longer = perplexity_by_position(lines(read_on=True), LIGHT.ink, layout)
    assert [tick.get_text() for tick in panels(longer)[0].get_xticklabels()][-1] == "16k-24k"


def test_the_demo_draws_the_fair_opponent_kept_beside_the_checkpoint(tmp_path: Path) -> None:
    results = {
        name: Compared(perplexity=9.0, bits_per_byte=1.0, tokens=98300, by_position={"0-1k": 10.0, "1k-4k": 9.0})
        for name in ("none", "exact/8192")
    }
    demo_run.draw(results, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.png", "report-narrow.png"}
    opponent = known_opponent(run_folder.find("stdlib-small"), results)
    assert opponent is not None
    assert "model.memory_layers=[]" in opponent.trained_by
    figure = perplexity_by_position(lines_of(results), LIGHT.ink, WIDE, opponent)
    assert [text.get_text() for text in legend(figure)] == [OFF, "exact/8192", "trained without a memory"]
    other = {name: result.model_copy(update={"tokens": 5}) for name, result in results.items()}
    assert known_opponent(run_folder.find("stdlib-small"), other) is None
