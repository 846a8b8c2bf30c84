"""``memstack export``: what is shared holds nothing of the machine, says what it is, and says how to evaluate it."""

import os
from pathlib import Path

import pytest
from helpers.command_line import QUICK, Run, ensure_refused, settings
from memstack_models.data.config import DataConfig
from memstack_models.data.documents import shared
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.sharing import shareable


@pytest.fixture
def exported(memstack: Run, corpus: Path) -> Path:
    """A validated run on a folder, exported."""
    chosen = settings(*QUICK, f"data.corpus={corpus}", "train.validate_every=2")
    assert memstack("train", "tiny", *chosen, "--out", "run")[0] == 0
    assert memstack("export", "run", "shared/mine")[0] == 0
    return Path("shared/mine")


def test_nothing_that_is_shared_holds_a_path_of_the_machine(exported: Path, tmp_path: Path) -> None:
    assert str(tmp_path).encode() in Path("run", run_folder.CONFIG).read_bytes()
    for path in (path for path in exported.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for part in (tmp_path, tmp_path.parent, Path.home()):
            assert os.fsencode(part) + b"/" not in content, path.name
    assert run_folder.read_config(exported).data.corpus == "./corpus"
    assert checkpoint.load(exported)[1].keys() == {"step"}


def test_the_card_says_what_it_is_and_what_it_reaches(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "# mine\n" in card
    assert "2 layers, 64 wide, with 2 heads and a context of 32 tokens, with a memory of" in card
    assert "after 4 steps of 2 x 32 tokens" in card
    log = [entry for entry in run_folder.read_log(exported) if entry.kind == "validation"]
    assert f"Validation perplexity at step 4: {log[-1].without.perplexity:.3f} without a memory" in card
    assert "memstack eval mine --data FOLDER" in card


def test_an_exported_run_says_what_it_needs_to_be_evaluated(memstack: Run, exported: Path) -> None:
    Path("corpus").rename("texts")
    refused = memstack("eval", exported)
    ensure_refused(refused, "corpus './corpus' is no folder")
    assert "or --data" in refused[2]
    assert memstack("eval", exported, "--data", "texts")[0] == 0


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("/home/someone/texts", "./texts"),
        ("~/texts", "./texts"),
        ("~someone/texts", "./texts"),
        ("~", "./texts"),
        (str(Path.home()), "./texts"),
        ("texts", "texts"),
        ("python-stdlib", "python-stdlib"),
    ],
)
def test_of_a_corpus_only_the_last_name_is_shared(corpus: str, expected: str) -> None:
    options = {"path": corpus, "deep": [{"paths": (corpus, 3)}], "shares": {"test": 1.0}}
    found = shared(DataConfig(corpus=corpus, options=options))
    assert found.corpus == expected
    assert found.options == {"path": expected, "deep": [{"paths": (expected, 3)}], "shares": {"test": 1.0}}


def test_where_a_memory_keeps_its_files_is_not_shared() -> None:
    memory = {"options": {"dtype": "int8", "scratch": "/home/someone/scratch", "sizes": (1, 2)}}
    run = RunConfig.model_validate({"model": {"preset": "tiny"}, "memory": memory})
    assert shareable(run).memory.options == {"dtype": "int8", "sizes": (1, 2)}
