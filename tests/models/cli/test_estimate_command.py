"""``memstack estimate``, and the table with which a training is refused."""

import json
from pathlib import Path

import pytest
from helpers.command_line import QUICK, Run, settings


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
