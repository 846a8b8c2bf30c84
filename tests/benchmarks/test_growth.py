"""How times grow: slopes, defects, what is left out, and all of it at a tiny size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from memstack_models.report.attempts import Attempts
from memstack_models.report.records import LeftOut
from typer.testing import CliRunner

from benchmarks.goals import growth, growth_results
from benchmarks.goals.growth import Axis
from benchmarks.goals.growth_results import Cell, Growth
from memstack import BackendSpec, BackendUnavailableError
from memstack.measure.measurement import TooSlowError

ROOT = Path(__file__).parents[2]

TINY = {
    "entries": Axis(sizes=(32, 64, 128), segment=16),
    "memories": Axis(sizes=(1, 2, 16), segment=16, entries=32),
}
PNG = b"\x89PNG"

app = typer.Typer()
app.command()(growth.main)


def cells(times: Callable[[int], float]) -> tuple[Cell, ...]:
    sizes = (512, 2048, 8192, 32768)
    return tuple(Cell(axis="entries", backend="exact", size=size, took_s=1.0, search=times(size)) for size in sizes)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_is_the_exponent(exponent: float) -> None:
    assert growth_results.slope([(size, 3 * size**exponent) for size in (1, 4, 8)]) == pytest.approx(exponent)


def test_the_slope_is_that_of_the_upper_end() -> None:
    assert growth_results.slope([(1, 100.0), (2, 100.0), (4, 4.0), (8, 8.0), (16, 16.0)]) == pytest.approx(1.0)


@pytest.mark.parametrize(("exponent", "defect"), [(1.09, False), (1.11, True)])
def test_worse_than_linear_is_a_defect(exponent: float, defect: bool) -> None:
    measured = cells(lambda size: size**exponent)
    slopes = growth_results.slopes(measured)
    assert [one.defect for one in slopes] == [defect]
    results = Growth(machine={}, minutes=1.0, limit_s=1.0, cells=measured, slopes=slopes, left_out=(), failed=0)
    table = growth_results.slopes_table(results, "entries")
    assert list(table.columns[3].cells) == [f"{exponent:.2f}{'!' if defect else ''}"]


def test_two_sizes_have_no_slope() -> None:
    assert growth_results.slopes(cells(float)[:2]) == ()


def test_what_to_expect_is_read_off_the_last_two_sizes() -> None:
    expected = growth._expected  # pyright: ignore[reportPrivateUsage]
    assert expected({512: 9.0}, 2048) == 0.0
    assert expected({512: 2.0, 2048: 3.0}, 8192) == pytest.approx(4.5)
    assert expected({512: 0.1, 2048: 3.0}, 8192) == pytest.approx(12.0)  # no more than linearly: the first was warmer


def test_a_backend_is_given_up_when_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    clock = iter([0.0, 1.0, 1.0, 5.0, 5.0])  # the second size takes four times the first, as the third would

    def fake(backend: str, *, memories: int, entries: int, segment: int, limit_s: float) -> dict[str, float]:
        sizes.append(entries)
        return {"search": 1.0, "add": 1.0, "step": 1.0}

    monkeypatch.setattr(growth, "timed_memory", fake)
    monkeypatch.setattr(growth.time, "perf_counter", lambda: next(clock))
    attempts, axis = Attempts(lambda doing: None), Axis(sizes=(512, 2048, 8192, 32768), segment=256)
    found = list(growth._along("entries", axis, "exact", 10.0, attempts))  # pyright: ignore[reportPrivateUsage]
    assert sizes == [cell.size for cell in found] == [512, 2048]
    assert attempts.given_up == [
        LeftOut(
            part="by entries",
            setting="exact, 1 x",
            entries=8192,
            reason="by the sizes before it would take some 16 s, and 10 s are allowed",
        )
    ]


def test_filling_is_cut_short() -> None:
    with pytest.raises(TooSlowError, match="adding 16 of 144 entries"):
        growth.timed_memory("exact", memories=1, entries=128, segment=16, limit_s=0.0)


def run(tmp_path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["--out", str(tmp_path), "--backend", "exact", "--backend", "hnsw", *arguments])


def test_it_measures_and_draws_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "AXES", TINY)
    monkeypatch.setattr(BackendSpec, "missing", lambda spec: ("hnswlib",) if spec.name == "hnsw" else ())
    done = run(tmp_path, "--entries", "64")
    assert done.exit_code == 0, done.output
    assert "left out: both axes, hnsw" in done.output
    results = Growth.read(tmp_path / "growth.json")
    measured = [(cell.axis, cell.backend, cell.size) for cell in results.cells]
    assert measured == [
        *(("entries", name, size) for name in ("no memory", "exact") for size in (32, 64)),
        *(("memories", name, size) for name in ("no memory", "exact") for size in (1, 2, 16)),
    ]
    assert all(cell.recall == 1.0 for cell in results.cells if cell.backend == "exact")
    assert {one.verb for one in results.slopes if one.backend == "exact"} == {"search", "add", "step"}
    pictures = [tmp_path / f"growth-{name}.png" for name in TINY]
    before = [picture.read_bytes() for picture in pictures]
    assert [picture[:4] for picture in before] == [PNG, PNG]
    for picture in pictures:
        picture.unlink()
    assert run(tmp_path, "--redraw").exit_code == 0
    assert [picture.read_bytes() for picture in pictures] == before


def test_a_backend_that_fails_is_told_of_and_takes_no_other_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(backend: str, **settings: object) -> dict[str, float]:
        raise BackendUnavailableError("broken on purpose")

    monkeypatch.setattr(growth, "AXES", {"entries": TINY["entries"]})
    monkeypatch.setattr(growth, "timed_memory", fail)
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "broken on purpose" in done.output
    results = Growth.read(tmp_path / "growth.json")
    assert {cell.backend for cell in results.cells} == {"no memory"}


def test_the_results_of_the_repository_are_read() -> None:
    kept = Growth.read(ROOT / "benchmarks" / "report" / "two-cores" / "growth.json")
    assert growth_results.axis_names(kept) == ["entries", "memories"]
    again, before = (
        {(one.axis, one.backend, one.verb, one.defect): one.slope for one in slopes}
        for slopes in (growth_results.slopes(kept.cells), kept.slopes)
    )
    assert again == pytest.approx(before)
