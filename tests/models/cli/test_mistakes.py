"""What is wrong with a recipe, a corpus or a checkpoint is one line, and nothing is written."""

import shutil
from pathlib import Path

import pytest
from helpers.command_line import QUICK, Run, ensure_refused, settings
from helpers.kept_checkpoints import kept_file


def break_corpus(corpus: Path, how: str) -> None:
    if how == "empty":
        shutil.rmtree(corpus / "train")
        (corpus / "train").mkdir()
    elif how == "no split":
        shutil.rmtree(corpus / "train")
    elif how == "no validation":
        shutil.rmtree(corpus / "validation")
    elif how == "not utf-8":
        (corpus / "train" / "latin.txt").write_bytes(b"caf\xe9")


@pytest.mark.parametrize(
    ("how", "overrides", "message"),
    [
        ("empty", [], "holds no documents"),
        ("no split", [], "has no folder train/"),
        ("not utf-8", [], "latin.txt"),
        ("", ["memory.backend=exakt"], "no memory backend is called 'exakt'; did you mean 'exact'"),
        ("", ["memory.capacty=3"], "memory.capacty is not a known key; did you mean 'capacity'"),
        ("", ["memory.capacity=0"], "memory.capacity"),
        ("", ["memory.neighbours=0"], "memory.neighbours"),
        ("", ["memory.options.blok=3"], "blok is not a known key; did you mean 'block'"),
        ("", ["data.corpus=nowhere"], "corpus 'nowhere' is no folder"),
        ("", ["model.preset=tinny"], "model.preset"),
        ("", ["model=tiny"], "model: "),
        ("", ["train.device=gpu"], "train.device 'gpu' cannot be used here"),
        ("", ["memory.options.device=gpu"], "device 'gpu' cannot be used here"),
        (
            "",
            ["train.accumulation=2", "train.rows=8", "data.corpus=one", "train.validate_every=0"],
            "accumulation 2 needs at least 2",
        ),
        ("no validation", ["train.validate_every=2"], "has no folder validation/"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    memstack: Run, corpus: Path, how: str, overrides: list[str], message: str
) -> None:
    break_corpus(corpus, how)
    Path("one").mkdir()
    Path("one/only.txt").write_text("a single document, " * 20)
    given = settings(*QUICK, f"data.corpus={corpus}", *overrides)
    ensure_refused(memstack("train", "tiny", *given, "--out", "run"), message)
    assert not Path("run").exists()


def test_a_model_without_a_memory_has_nothing_to_compare(memstack: Run, corpus: Path) -> None:
    chosen = settings(*QUICK, f"data.corpus={corpus}", "model.memory_layers=[]")
    assert memstack("train", "tiny", *chosen, "--out", "run")[0] == 0
    code, _, err = memstack("compare", "run")
    assert (code, "run has no memory layer" in err, len(err.splitlines())) == (2, True, 1)


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_a_damaged_checkpoint_is_one_line(memstack: Run, corpus: Path, damage: str) -> None:
    assert memstack("train", "tiny", *settings(*QUICK, f"data.corpus={corpus}"), "--out", "run")[0] == 0
    path = kept_file(Path("run"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    code, _, err = memstack("eval", "run")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert str(path) in err
