"""``memstack build-store``, and what reads the store afterwards: eval, compare, and nothing that cannot."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from string import ascii_lowercase

import pytest
from helpers.command_line import Run, ensure_refused, settings
from helpers.small_checkpoint import write_checkpoint
from memstack_models.evaluation.records import CompareRecord, EvalRecord

from memstack.plugins.registry import registry

KILLED = """
import os, signal, sys
from memstack.cli.main import main
from memstack.wrappers.common import building, files

building.PIECE = 64
name, last = sys.argv.pop(1), int(sys.argv.pop(1))
kind = getattr(files, name)
write, calls = kind.append, iter(range(1, 1000))

def append(*given):
    write(*given)
    if next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)

kind.append = append
main()
"""


@pytest.fixture
def run(tmp_path: Path, memstack: Run) -> Path:
    """A run with memories in both layers."""
    return write_checkpoint(tmp_path)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    chance = random.Random(0)
    for i in range(3):
        words = ("".join(chance.choices(ascii_lowercase, k=5)) for _ in range(90))
        (folder / f"{i}.txt").write_text(" ".join(words), encoding="utf-8")
    return folder


def perplexities(memstack: Run, *arguments: object) -> tuple[dict[str, float], str]:
    code, out, err = memstack("eval", *arguments, "--json", "eval.json")
    assert code == 0, err
    record = EvalRecord.read(Path("eval.json"))
    return {name: each.perplexity for name, each in record.memories.items()}, out


def test_a_text_that_is_in_the_store_is_predicted_better(memstack: Run, texts: Path) -> None:
    code, out, err = memstack("build-store", "stdlib-small", texts, "--out", "stores/mine")
    assert code == 0, err
    assert "entries of each of the layers 1, 3, from 3 documents" in out
    few = settings("eval.documents=0", "eval.tokens=200")
    without, _ = perplexities(memstack, "stdlib-small", "--data", texts, *few)
    found, out = perplexities(memstack, "stdlib-small", "--data", texts, *few, *settings("memory.store=stores/mine"))
    assert found["none"] == without["none"]
    assert found["exact/4096 + store mine"] < 0.7 * without["exact/4096"]
    assert "store mine" in out
    section = settings("memory.store.place=stores/mine", "memory.store.alone=true", "memory.backend=bucketed")
    alone, _ = perplexities(memstack, "stdlib-small", "--data", texts, *few, *section)
    assert alone["store mine"] < 0.7 * without["exact/4096"]


def killed(cwd: Path, kind: str, call: int, *arguments: object) -> int:
    line = [sys.executable, "-c", KILLED, kind, str(call), *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, env=dict(os.environ), capture_output=True, check=False).returncode


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "store.lock"}


def test_killed_and_given_again_it_is_the_same_store(memstack: Run, run: Path, texts: Path, tmp_path: Path) -> None:
    arguments = "build-store", run, texts
    assert killed(tmp_path, "FileLog", -1, *arguments, "--out", "whole") == 0
    assert killed(tmp_path, "Pieces", 2, *arguments, "--out", "cut") == -signal.SIGKILL
    assert killed(tmp_path, "FileLog", 2, *arguments, "--out", "cut") == -signal.SIGKILL
    assert killed(tmp_path, "FileLog", -1, *arguments, "--out", "cut") == 0
    whole = contents(tmp_path / "whole")
    assert len(whole) > 4
    assert contents(tmp_path / "cut") == whole
    code, out, _ = memstack(*arguments, "--out", "cut")
    assert code == 0
    assert "note: 3 of 3 documents were there already" in out
    assert contents(tmp_path / "cut") == whole


def test_compare_reads_one_store_by_several_backends(memstack: Run, run: Path, texts: Path) -> None:
    assert memstack("build-store", run, texts, "--out", "store")[0] == 0
    chosen = ["-b", "bucketed", "--capacity", "64", "--json", "found.json"]
    line = ["compare", run, "--data", texts, *chosen]
    for more in ((), settings("memory.store=store")):
        code, _, err = memstack(*line, *more)
        assert code == 0, err
    record = CompareRecord.read(Path("found.json"))
    assert not record.failures
    assert set(record.memories) == {"none", "exact/64", "bucketed/64"}


def test_what_cannot_be_done_is_one_line(memstack: Run, run: Path, texts: Path, tmp_path: Path) -> None:
    bare = write_checkpoint(tmp_path / "bare", "model.memory_layers=[]")
    assert memstack("build-store", run, texts, "--out", "store")[0] == 0
    held = settings("memory.store=store")
    for line, said in (
        (("build-store", bare, texts, "--out", "other"), "has no memory layer, so nothing can be stored of it"),
        (("build-store", "smollm2", texts, "--out", "other"), "there is no run in smollm2"),
        (("build-store", run, "nowhere", "--out", "other"), "corpus 'nowhere' is no folder"),
        (("build-store", "stdlib-small", texts, "--out", "store"), "holds keys of another model"),
        (("build-store", run, texts, "--out", "other", "-b", "exact"), "keeps nothing beyond its process"),
        (("eval", run, "--data", texts, *settings("memory.store=nowhere")), "there is no store in nowhere"),
        (("eval", "stdlib-small", "--data", texts, *held), "holds keys of another model"),
        (("explain", run, texts / "0.txt", *held), "memory.store is for memstack eval and compare alone"),
        (("train", "tiny", *settings(f"data.corpus={texts}"), *held, "--out", "new"), "memory.store is for evaluation"),
    ):
        ensure_refused(memstack(*line), said)
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").glob("store.jsonl"))
    for more in ([], ["--out", "other", "--url", "http://localhost:6334/a"]):
        code, _, err = memstack("build-store", run, texts, *more)
        assert code == 2
        assert "give --out FOLDER or --url URL" in err
    line = "build-store", run, texts, "--url", "localhost:6334/a"
    ensure_refused(memstack(*line), "--url should be http://HOST:PORT/NAME, got 'localhost:6334/a'")


@pytest.mark.parametrize("kept", ["server", "folder"])
def test_a_store_that_an_engine_keeps_is_read_as_one_in_files(
    memstack: Run, texts: Path, tmp_path: Path, kept: str
) -> None:
    # Not the first layer's, whose keys are equal where tokens are: an engine may find others of them.
    run = write_checkpoint(tmp_path, "model.memory_layers=[2]")
    if missing := registry().spec("qdrant").missing():
        pytest.skip(f"qdrant needs {', '.join(missing)}")
    from helpers.stand_in import StandIn  # which needs what was just looked for

    (tmp_path / "server").mkdir()
    server = StandIn(tmp_path / "server")
    try:
        place = f"{server.url}/mine" if kept == "server" else "engine"
        where = ["--url", place] if kept == "server" else ["--out", place, "-b", "qdrant", "-o", "timeout=20"]
        code, _, err = memstack("build-store", run, texts, *where)
        assert code == 0, err
        assert memstack("build-store", run, texts, "--out", "files")[0] == 0
        there, _ = perplexities(memstack, run, "--data", texts, *settings(f"memory.store={place}"))
        plain, _ = perplexities(memstack, run, "--data", texts, *settings("memory.store=files"))
        (_, with_it), (_, expected) = there.values(), plain.values()
        assert with_it == pytest.approx(expected, rel=1e-4)
        without, _ = perplexities(memstack, run, "--data", texts)
        assert abs(without["exact/64"] - expected) > 5 * abs(with_it - expected)
    finally:
        server.kill()
