"""The goal scripts: each explains itself from a clone; the step beside its goal; what the peer's worker may import."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.goals import approximate, hugging_face, reading, step
from memstack.cli import console

ROOT = Path(__file__).parents[2]
TINY = ["model.preset=tiny", "model.memory_layers=[1, 2]", "train.rows=2", "train.segment=32"]
SCRIPTS = [
    *("approximate", "exact", "gpu", "growth", "hf_peers", "hugging_face", "long_document"),
    *("on_disk", "peer", "reading", "remote", "sharded", "start", "step", "unit_costs"),
]
PARTS = {
    "__init__",
    "busy",
    "gpu_results",
    "growth_results",
    "hf_peers_ours",
    "hf_peers_results",
    "hf_peers_worker",
    "peer_worker",
    "turns",
}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table's lines are whole, however wide the terminal is."""
    monkeypatch.setattr(console.OUT, "_width", 200)


def test_every_file_is_a_script_or_part_of_one() -> None:
    assert {path.stem for path in (ROOT / "benchmarks" / "goals").glob("*.py")} == {*SCRIPTS} | PARTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = f"benchmarks.goals.{name}"
    monkeypatch.delitem(sys.modules, module, raising=False)  # run_module warns of a module that was imported before
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert end.value.code == 0
    assert "Usage:" in capsys.readouterr().out


def test_a_step_is_told_beside_its_goal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(step, "GOALS", {64: 1.5})
    step.main("exact", TINY, [64, 128], turns=2)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("training step with exact, ")]
    assert [line.partition(", ")[2].partition(" entries / without a memory")[0] for line in told] == ["64", "128"]
    assert ["≤ 1.5" in line for line in told] == [True, False]
    assert ["reported" in line for line in told] == [False, True]


def test_a_book_is_read_beside_its_goal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hugging_face.Reading, "tokens", 200)
    monkeypatch.setattr(hugging_face.Reading, "settings", {"window": 32, "segment": 32})
    reading.main("exact", "random", entries=300, turns=2, set_=TINY)
    told = [line for line in capsys.readouterr().out.splitlines() if "300 entries" in line]
    assert [line.partition(",")[0] for line in told] == ["stdlib-small", "random"]
    assert all("≥ 0.5" in line for line in told)


def test_a_model_of_hugging_face_is_told_beside_its_goal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hugging_face.Reading, "tokens", 200)
    monkeypatch.setattr(hugging_face.Reading, "settings", {"window": 32, "segment": 32})
    hugging_face.main(["exact", "bucketed"], "random", reading=300, decoding=400, turns=2)
    told = capsys.readouterr().out.splitlines()
    verbs = ["reading with 300", "decoding with 400"]
    assert [line.partition(" entries: ")[0] for line in told] == [
        f"{backend}, {verb}" for backend in ("exact", "bucketed") for verb in verbs
    ]
    assert all("times the window alone (" in line and "goal 1.5)" in line for line in told)


def test_approximate_search_is_told_beside_exact(capsys: pytest.CaptureFixture[str]) -> None:
    approximate.main(["bucketed", "jax"], ["drifting"], entries=256)
    told = [line for line in capsys.readouterr().out.splitlines() if "256 drifting" in line]
    assert [line.partition(" / exact")[0] for line in told] == ["bucketed", "jax"]
    assert "≤ 0.5" in told[0]
    assert "reported" in told[1]


@pytest.mark.parametrize("worker", ["peer_worker", "hf_peers_worker"])
def test_a_peers_worker_imports_no_more_than_both_sides_have(worker: str) -> None:
    """It runs in the Python of either library."""
    code = f"import sys; from benchmarks.goals import {worker}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ast.literal_eval(done.stdout)}
    assert "torch" in loaded
    assert (
        not {
            "memstack",
            "memstack_models",
            "memorizing_transformers_pytorch",
            "faiss",
            "jax",
            "typer",
            "transformers",
            "kvpress",
        }
        & loaded
    )
