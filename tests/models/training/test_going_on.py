"""--resume by the run's own configuration, where it lies now; --from the weights of any checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from helpers.command_line import QUICK, Run, ensure_refused, settings
from helpers.small_run import RSQRT, config, losses, trainer
from memstack_models.data.errors import CheckpointError
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.errors import RunFolderError
from memstack_models.training.identity import may_change
from pydantic import AliasChoices, Field

from memstack import BackendOptions
from memstack.plugins.config import Frozen
from memstack.plugins.placement import PLACEMENT, is_placement
from memstack.plugins.registry import registry


class Inner(Frozen):
    """An option with keys of its own."""

    host: Annotated[str, PLACEMENT] = "here"
    shards: int = 1


class StrangersOptions(BackendOptions):
    """What another's backend may take."""

    scratch: Annotated[str | None, PLACEMENT] = Field(default=None, validation_alias=AliasChoices("tmp", "scratch"))
    server: Inner = Inner()
    effort: int = 1


@pytest.mark.parametrize(
    ("key", "placed"),
    [
        ("scratch", True),
        ("tmp", True),
        ("server.host", True),
        ("server.shards", False),
        ("effort", False),
        ("x", False),
    ],
)
def test_a_strangers_option_says_itself_that_it_only_places(key: str, placed: bool) -> None:
    assert is_placement(StrangersOptions, key.split(".")) is placed


@pytest.mark.parametrize(
    "backend", [spec.name for spec in registry().specs() if not (spec.missing() or spec.needs_options)]
)
def test_where_and_how_often_may_change(backend: str) -> None:
    run = RunConfig.model_validate({"model": {"preset": "tiny"}, "memory": {"backend": backend}})
    free = ["data.corpus", "train.device", "train.compile", "train.log_every", "train.validate_every", "eval.tokens"]
    free += ["memory.options.folder", "memory.options.device", "memory.options.overlap", "memory.probe.every"]
    assert [key for key in free if not may_change(run, tuple(key.split(".")))] == []
    decides = ["data.pattern", "train.seed", "train.rows", "model.dim", "memory.capacity", "memory.probe.below"]
    decides += ["memory.options.dtype", "data.options.shares.test", "train.steps", "format"]
    assert [key for key in decides if may_change(run, tuple(key.split(".")))] == []


@pytest.fixture
def begun(memstack: Run, corpus: Path) -> list[str]:
    """A run of 4 of 8 steps, in ``run``: what its command line was."""
    chosen = [*QUICK, f"data.corpus={corpus}", "train.schedule=rsqrt", "train.learning_rate=0.1"]
    assert memstack("train", "tiny", *settings(*chosen), "--out", "run")[0] == 0
    return settings(*chosen)


def test_a_run_moves_with_its_corpus(memstack: Run, begun: list[str], corpus: Path, tmp_path: Path) -> None:
    """The reader's checksum guards what is read; where it lies, and where what is kept beside, is nobody's matter."""
    assert memstack("train", "tiny", *begun, "--set", "train.steps=8", "--out", "whole")[0] == 0
    shutil.move(corpus, tmp_path / "elsewhere")
    Path("scratch").mkdir()
    code, _, err = memstack("train", "--resume", "--out", "run", *settings("train.steps=8"))
    assert (code, "is no folder" in err) == (2, True)
    moved = settings("data.corpus=elsewhere", "memory.options.folder=scratch", "train.device=cpu", "train.steps=8")
    code, out, _ = memstack("train", "--resume", "--out", "run", *moved)
    assert (code, "resuming at step 4 of 8: run" in out) == (0, True)
    assert losses(Path("run")) == losses(Path("whole"))
    kept = run_folder.read_config(Path("run"))
    assert (kept.data.corpus, kept.train.steps) == (str(tmp_path / "elsewhere"), 8)
    assert memstack("train", "run", "--resume")[0] == 0  # what was changed is kept


def test_another_content_is_told(memstack: Run, begun: list[str], corpus: Path) -> None:
    (corpus / "train" / "more.txt").write_text("something else " * 300, encoding="utf-8")
    done = memstack("train", "--resume", "--out", "run", *settings("train.steps=8"))
    ensure_refused(done, "the corpus has changed since then")
    assert run_folder.read_config(Path("run")).train.steps == 4


def test_a_resumed_run_goes_by_its_own_configuration(memstack: Run, begun: list[str]) -> None:
    """Nothing of the first command line is repeated; a recipe that says otherwise is mentioned."""
    before = Path("run", run_folder.CONFIG).read_bytes()
    for line in (("--out", "run"), ("run",), ("run/",), ("tiny", "--out", "run")):
        code, out, err = memstack("train", *line, "--resume")
        assert (code, "trained to step 4" in out) == (0, True), err
        assert ("goes on by its own configuration, in which data.tokenizer" in out) is False
        assert ("the run goes on by its own configuration, in which" in out) is (line[0] == "tiny")
    assert Path("run", run_folder.CONFIG).read_bytes() == before
    ensure_refused(memstack("train", "--resume", "--out", "nowhere"), "there is no run in nowhere")
    ensure_refused(memstack("train", "--resume"), "name the run to go on with")
    ensure_refused(memstack("train"), "name a recipe")
    ensure_refused(memstack("train", "run"), "run is a run: go on with --resume")


def test_steps_grow_where_the_schedule_allows(tmp_path: Path) -> None:
    run_folder.create(
        tmp_path / "rsqrt", config(**RSQRT), tokenizer := run_folder.load_tokenizer(run_folder.find("stdlib-small"))
    )
    run_folder.refuse_other(tmp_path / "rsqrt", config(steps=20, **RSQRT))
    run_folder.create(tmp_path / "a run", config(), tokenizer)
    told = (
        "train.steps is 12 there and 20 here, and the cosine schedule ends at the step it was made for: begin a new run"
    )
    with pytest.raises(
        RunFolderError, match=rf"{told} from this one's weights with --from '.*/a run' and another --out"
    ):
        run_folder.refuse_other(tmp_path / "a run", config(steps=20))


def test_a_configuration_edited_by_hand_is_told(tmp_path: Path) -> None:
    """Also one that decides nothing of shapes; what only places may be edited."""
    trainer(tmp_path, config()).train()
    trainer(tmp_path, config(log_every=3)).resume()
    with pytest.raises(RunFolderError, match=r"is not what its checkpoint was made with: train\.seed was 0 and is 3"):
        trainer(tmp_path, config(seed=3)).resume()
    with pytest.raises(RunFolderError, match=r"train\.steps was 12 and is 20"):
        trainer(tmp_path, config(steps=20)).resume()


def test_a_run_begins_from_the_weights_of_another(memstack: Run, begun: list[str]) -> None:
    """With its tokeniser and a fresh optimiser, at step 0; the memory may be another, and the layers that have one."""
    other = settings("memory.capacity=64", "memory.backend=hnsw", "memory.neighbours=5", "model.memory_layers=[2]")
    code, out, err = memstack("train", "--from", "run", *other, "--out", "new")
    assert code == 0, err
    assert "starting from run at step 0 of 4: new" in out
    assert "not taken over, for this model has none: blocks.0.attention.memory_bias" in out
    assert Path("new", "tokenizer.json").read_bytes() == Path("run", "tokenizer.json").read_bytes()
    code, out, err = memstack("train", "--from", "new", *settings("model.memory_layers=[1,2]"), "--out", "newer")
    assert (code, "new, and as initialised: blocks.0.attention.memory_bias" in out) == (0, True), err
    assert len(losses(Path("newer"))) == 4


def test_a_run_begun_from_weights_has_them_before_its_first_step(
    memstack: Run, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one killed before its first own checkpoint does not start from nothing."""
    monkeypatch.setattr("memstack_models.training.trainer.Trainer.train", lambda *_, **__: None)
    assert memstack("train", "--from", "run", "--out", "new", *settings("train.seed=7"))[0] == 0
    old, new = (run_folder.load_weights(Path(name)) for name in ("run", "new"))
    assert all(torch.equal(new[name], weight) for name, weight in old.items())
    assert checkpoint.load(Path("new"))[1]["step"] == 0


def test_a_shipped_checkpoint_is_fine_tuned(memstack: Run, corpus: Path) -> None:
    chosen = [f"data.corpus={corpus}", "train.steps=2", "train.rows=2", "train.segment=32", "train.validate_every=0"]
    code, out, err = memstack("train", "tiny", "--from", "stdlib-small", *settings(*chosen), "--out", "bad")
    ensure_refused((code, out, err), "sizes and layers are those of the checkpoint")
    assert not Path("bad").exists()
    code, _, err = memstack("train", "--from", "stdlib-small", *settings(*chosen, "train.log_every=1"), "--out", "mine")
    assert code == 0, err
    kept = run_folder.read_config(Path("mine"))
    assert (kept.data.tokenizer, kept.data.vocab_size, kept.train.steps) == ("bpe", 1024, 2)
    assert losses(Path("mine"))[0] < 6.5  # an untrained model of 1,024 tokens begins at 6.9
    ensure_refused(memstack("train", "--from", "nowhere", "--out", "x"), "there is no run in nowhere")


def test_a_folder_whose_name_is_not_utf_8_is_refused_before_it_is_made(memstack: Run, corpus: Path) -> None:
    chosen = settings(*QUICK, f"data.corpus={corpus}")
    ensure_refused(memstack("train", "tiny", *chosen, "--out", "run\udcff"), r"b'run\xff' is not UTF-8")
    shutil.copytree(corpus, "texts\udcff")
    code, _, err = memstack("train", "tiny", *settings(*QUICK, "data.corpus=texts\udcff"), "--out", "run")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert {path.name for path in Path().iterdir()} & {"run", "run\udcff"} == set()


def test_a_configuration_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    strange: dict[str, Any] = {"model": {"preset": "tiny"}, "memory": {"options": {"folder": "\udcff"}}}
    with pytest.raises(run_folder.configuration.ConfigError):
        run_folder.as_toml(RunConfig.model_validate(strange))


def test_a_checkpoint_says_what_it_was_made_with_and_where_nothing_lies(tmp_path: Path) -> None:
    """So that it can be shared: no path of this machine is in it."""
    run = trainer(tmp_path, config())
    run.save()
    described = json.dumps(checkpoint.load(tmp_path)[1])
    assert '"seed": 0' in described
    assert "corpus" not in described
    assert "device" not in described


def test_a_reader_of_another_corpus_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, config())
    run.save()
    other = trainer(tmp_path, config())
    other.streams[0].reader.documents = [*other.streams[0].reader.documents, torch.arange(9)]
    with pytest.raises(CheckpointError, match="the corpus has changed since then"):
        other.resume()
