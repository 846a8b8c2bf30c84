"""The comparison with the peer: our side at a tiny size, the protocol with a worker that stands in for the peer's."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from benchmarks.goals import peer

TINY = peer.Shape(
    layers=2, dim=16, heads=2, head_dim=8, memory_layers=(2,), rows=2, segment=8, vocabulary=32, neighbours=4
)
ENTRIES = 64
FAKE = f"""#!{sys.executable}
import json, sys
request = json.loads(sys.argv[-1])
print(json.dumps({{"entries": request["entries"], "parameters": 1, "version": "0"}}), flush=True)
answers = {{"step": iter([1e6, 3e6, 9e6, 4e6, 1e6, 2e7, 2e7, 2e7]), "recall": iter([0.5, 0.95]), "tune": iter([64])}}
for line in sys.stdin:
    print(json.dumps({{line.strip(): next(answers[line.strip()])}}), flush=True)
"""


def executable(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o700)
    return path


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """The peer's Python: it takes a second for whatever it is asked, or rather says so."""
    return executable(tmp_path / "python", FAKE)


def printed(one: dict[str, Any]) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(peer.shown([one]))
    return capture.get()


@pytest.mark.long
def test_both_sides_step_in_turns_and_the_results_are_written(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our side really steps; all neighbours are found in a memory that is full."""
    monkeypatch.setattr(peer, "install", lambda folder: fake)
    monkeypatch.setattr(peer, "Shape", lambda **options: replace(TINY, **options))
    peer.main(tmp_path / "out.json", entries=[ENTRIES], turns=3, processes=True)
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written["peer"] == "memorizing-transformers-pytorch==0.4.1"
    assert written["shape"]["processes"] is True
    assert "processor" in written["machine"]
    found, tuned = written["results"]
    assert list(found["sides"]) == ["memstack", "memorizing-transformers-pytorch"]
    ours, theirs = found["sides"].values()
    assert (ours["entries"], ours["recall"], len(ours["samples"])) == (ENTRIES, 1.0, 3)
    assert ours["ms"] == sorted(ours["samples"])[1] > 0
    assert theirs["ms"] == 4e6  # the median without the first step, which warms up
    assert found["ratio"] == pytest.approx(4e6 / ours["ms"])
    assert (found["peer"], tuned["peer"]) == ("as it comes", "efSearch 64")
    assert [one["sides"]["memorizing-transformers-pytorch"]["recall"] for one in (found, tuned)] == [0.5, 0.95]
    assert tuned["sides"]["memorizing-transformers-pytorch"]["ms"] == 2e7


@pytest.mark.parametrize(
    ("entries", "ratio", "text"), [(8192, 3.0, "3, reached"), (65536, 11.9, "12, missed"), (100, 9.0, "9.00")]
)
def test_a_ratio_is_shown_beside_its_goal(entries: int, ratio: float, text: str) -> None:
    sides = {name: {"ms": 1.0, "recall": 1.0} for name in ("memstack", "the peer")}
    result = {"entries": entries, "peer": "as it comes", "ratio": ratio, "sides": sides}
    told = printed(result | peer.judged(entries, ratio))
    assert told.rstrip().endswith(text)


@pytest.mark.parametrize("text", ["sys.exit(3)", "print('{}', flush=True); sys.exit(3)"], ids=["at once", "later"])
def test_a_worker_that_dies_is_told_of(tmp_path: Path, text: str) -> None:
    dying = executable(tmp_path / "python", f"#!{sys.executable}\nimport sys\n{text}\n")
    with pytest.raises(RuntimeError, match=r"worker of theirs ended with code 3"):
        peer.Worker(dying, "theirs", {}).ask("step")


def test_the_peer_gets_our_torch_and_an_environment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda line, check: lines.append(line))
    monkeypatch.setattr(peer.venv, "create", lambda folder, clear, with_pip: folder.mkdir())
    python = peer.install(tmp_path / "peer")
    assert python == tmp_path / "peer" / "bin" / "python"
    first, second = lines
    assert first[0] == second[0] == str(python)
    assert {"-c", str(peer.ROOT / "constraints.txt"), f"torch=={torch.__version__.partition('+')[0]}"} < set(first)
    assert second[-2:] == ["--no-deps", "memorizing-transformers-pytorch==0.4.1"]
    assert peer.install(tmp_path / "peer") == python
    assert len(lines) == 2  # once made, it is used again
