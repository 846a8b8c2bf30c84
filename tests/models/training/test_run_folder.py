"""What a run keeps in its folder, and what may not be done to it."""

from pathlib import Path

import pytest
import torch
from helpers.small_run import config, losses, trainer
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.training import run_folder
from memstack_models.training.errors import RunFolderError
from memstack_models.training.records import StepEntry

from memstack.plugins.config import MemoryConfig


def test_a_log_line_cut_in_half_is_dropped(tmp_path: Path) -> None:
    step = StepEntry(step=1, loss=1.0, rate=0.1, tokens_per_s=1, memory_share=(), search_ms=0.0, add_ms=0.0)
    run_folder.append_log(tmp_path, step)
    with (tmp_path / run_folder.LOG).open("a") as log:
        log.write('{"step": 2, "lo')
    run_folder.rewind_log(tmp_path, 2)
    assert losses(tmp_path) == [1.0]


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    first = trainer(tmp_path / "run", config())
    first.train()
    before = (tmp_path / "run" / run_folder.LOG).read_bytes()
    with pytest.raises(RunFolderError, match="already holds a run: continue it with --resume"):
        run_folder.create(tmp_path / "run", config(), ByteTokenizer())
    with pytest.raises(RunFolderError, match=r"train\.rows is 4 there and 8 here"):
        run_folder.refuse_other(tmp_path / "run", config(rows=8))
    run_folder.refuse_other(tmp_path / "run", config(log_every=7))
    options = MemoryConfig(capacity=48, neighbours=4, options={"dtype": "bfloat16"})
    with pytest.raises(RunFolderError, match=r"memory\.options\.dtype is None there and 'bfloat16' here"):
        run_folder.refuse_other(tmp_path / "run", config().model_copy(update={"memory": options}))
    with pytest.raises(RunFolderError, match=r"train\.steps is 12 there and 13 here"):
        run_folder.refuse_other(tmp_path / "run", config(steps=13))
    assert (tmp_path / "run" / run_folder.LOG).read_bytes() == before


def test_exported_weights_evaluate_but_do_not_resume(tmp_path: Path) -> None:
    run = config()
    trained = trainer(tmp_path / "run", run)
    trained.train()
    run_folder.export(tmp_path / "run", tmp_path / "out")
    model, tokenizer = run_folder.load_model(tmp_path / "out", run, torch.device("cpu"))
    for name, weight in trained.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=1e-2, atol=1e-2)
    assert tokenizer.vocab_size == 257
    with pytest.raises(CheckpointError, match="exported weights only"):
        trainer(tmp_path / "out", run).resume()
