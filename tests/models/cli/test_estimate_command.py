"""``memstack estimate``, of a training and of a store; and the table with which a training is refused."""

import json
from pathlib import Path

import pytest
from helpers.command_line import QUICK, Run, ensure_refused, settings

SIZED = Path(__file__).parents[3] / "docs" / "sizing.md"


def test_bytes_and_seconds_are_told_before_anything_is_made(memstack: Run, tmp_path: Path) -> None:
    code, out, _ = memstack("estimate", "tiny", *settings("train.rows=2", "train.segment=16"), "--json", "told.json")
    assert code == 0
    for word in ("model", "gradients", "optimiser", "activations", "memory of layer 1", "together", "a step with full"):
        assert word in out
    told = json.loads(Path("told.json").read_text())
    assert told["kind"] == "estimate"
    assert told["seconds"]["total"] > 0
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"told.json"}


def test_what_ships_can_be_estimated_as_a_recipe_or_a_run(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    too_much = settings("memory.capacity=1000000000000")
    code, out, _ = memstack("estimate", "stdlib-small", *too_much)
    assert code == 1
    assert "it does not fit" in out
    assert "at least" in out
    code, _, err = memstack("estimate", "nothing")
    assert code == 2
    assert "there is no recipe or file nothing" in err


def test_a_training_that_cannot_fit_is_refused_with_the_table(memstack: Run, corpus: Path) -> None:
    chosen = settings(*QUICK, f"data.corpus={corpus}", "memory.capacity=1000000000000")
    code, out, err = memstack("train", "tiny", *chosen, "--out", "run")
    assert code == 2
    assert "memory of layer 1" in out
    assert "at least" in out
    assert "(more than there is): lower capacity" in err
    assert err.count("\n") == 1
    assert not Path("run").exists()


def test_a_store_is_sized_without_a_recipe(memstack: Run, tmp_path: Path) -> None:
    code, out, err = memstack("estimate", "--entries", "1e9", "--ranks", "8", "--json", "told.json")
    assert (code, err) == (0, "")
    for word in ("1e9, 8 GPUs", "cluster of 8", "in memory", "received by a rank", "index, core-hours", "a month"):
        assert word in out
    described = "a store of 64 + 64 numbers an entry, bfloat16; 8 ranks with 1,024 queries each a step, 32 neighbours"
    assert described in " ".join(out.split())
    assert "prices.core_hour" in out
    assert "never run: a cluster" in out
    told = json.loads(Path("told.json").read_text())
    assert told["kind"] == "sizing"
    assert told["sizes"][0]["ways"][0]["fits"]


def test_the_page_has_what_the_command_prints(memstack: Run) -> None:
    """To mend it: put the two tables and the notes that the page's first command prints into the page."""
    page = SIZED.read_text(encoding="utf-8")
    sizes = [part for entries in ("1e8", "1e9", "1e10") for part in ("--entries", entries)]
    code, out, err = memstack("estimate", *sizes, "--ranks", "8", "--format", "markdown")
    assert code == 0
    tables = out.split("\n\n")
    assert len(tables) == 2
    assert [table for table in tables if table.strip() not in page] == []
    assert [line for line in err.splitlines() if line.startswith("never run") and line[11:] not in page] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "name a recipe, as memstack estimate tiny, or say how large a store is"),
        ("--ranks 4", "name a recipe"),
        ("tiny --ranks 4", "--ranks is of a store, tiny is a training"),
        ("tiny --entries 1e9", "--entries is of a store"),
        ("tiny --cost prices.gpu_hour=2", "--cost is of a store"),
        ("--entries 0", "--entries 0 should be a whole number from 1"),
        ("--entries 1e9 --entries many", "--entries 'many' is no number"),
        ("--entries 7 --ranks 8", "7 entries on 8 ranks leave some without one: lower --ranks"),
        ("--entries 1e9 --ranks 0", "--ranks"),
        ("--entries 1e9 --key-dim -3", "--key-dim"),
        ("--entries 1e9 --value-dim wide", "--value-dim"),
        ("--entries 1e9 --dtype float8", "'float8' is not one of 'float32', 'bfloat16', 'int8'"),
        ("--entries 1e9 --set memory.capacity=3", "--set memory.capacity=3 changes a recipe, and there is none"),
        ("--entries 1e9 --cost prices.gpu_hours=3", "did you mean 'prices.gpu_hour'"),
        ("--entries 1e9 --cost gpu.memory", "a unit cost is a number"),
        ("--entries 1e9 --cost gpu.usable=2", "gpu.usable.value: Input should be less than or equal to 1"),
        ("--entries 1e9 --format csv --json -", "both want standard output"),
    ],
)
def test_a_store_that_cannot_be_is_one_line(memstack: Run, arguments: str, message: str) -> None:
    ensure_refused(memstack("estimate", *arguments.split()), message)


def test_a_training_is_told_for_other_programs_too(memstack: Run) -> None:
    code, out, err = memstack("estimate", "tiny", *settings("train.rows=2", "train.segment=16"), "--format", "csv")
    assert code == 0
    assert out.startswith("part,what it is,where,bytes\n")
    assert "a step with full memories" in err
