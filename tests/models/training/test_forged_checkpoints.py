"""A right digest proves nothing: all of a checkpoint is looked at before any of it is taken over."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.forged_checkpoints import Forgery, forgeries
from helpers.kept_checkpoints import files_of, save_in_one_file
from helpers.small_run import config, trainer
from memstack_models.training import run_folder
from memstack_models.training.one_file import FILE
from memstack_models.training.trainer import Trainer

from memstack import MemstackError


@pytest.fixture(params=["folder", "one file"])
def stopped(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A run of three steps of twelve; its checkpoint as it is now, and as it was before there were folders."""
    run = trainer(tmp_path, config())
    for _ in range(3):
        run.advance()
    run.save() if request.param == "folder" else save_in_one_file(run)
    return tmp_path


def everything(run: Trainer) -> dict[str, torch.Tensor]:
    parts = [run.model.state_dict(), *(stream.state_dict() for stream in run.streams)]
    return {f"{i}.{name}": tensor.clone() for i, part in enumerate(parts) for name, tensor in part.items()}


def refusal(load: Callable[[], object]) -> str | None:
    """What a forgery is refused with; None if it is believed."""
    try:
        load()
    except MemstackError as error:
        return str(error)
    return None


def tried(folder: Path, chosen: Callable[[Forgery], bool], load: Callable[[], object]) -> dict[str, str | None]:
    """What becomes of forgeries, by name; afterwards the good checkpoint lies there again."""
    good, seen = {path: path.read_bytes() for path in files_of(folder)}, dict[str, str | None]()
    for forgery in filter(chosen, list(forgeries(folder))):
        forgery.write(folder)
        seen[forgery.name] = refusal(load)
        for path, content in good.items():
            path.write_bytes(content)
    return seen


def test_a_forged_checkpoint_is_refused_in_one_line_and_nothing_is_taken_over(stopped: Path) -> None:
    """Every forgery: of the step, of what decided it, of weights, optimiser, rows, cache, memories and generators."""
    fresh = trainer(stopped, config())
    before, files = everything(fresh), {path.name for path in stopped.iterdir()}
    seen = tried(stopped, lambda forgery: True, fresh.resume)
    assert len(seen) > 120
    assert [name for name, told in seen.items() if told is None] == []
    assert [told for told in seen.values() if told and ("\n" in told or str(stopped) not in told)] == []
    assert fresh.step == 0
    after = everything(fresh)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {path.name for path in stopped.iterdir()} == files
    fresh.resume()
    assert fresh.step == 3


def test_forged_weights_are_not_evaluated(stopped: Path) -> None:
    """What is wrong with the weights, or with the progress, is told by whoever reads only them."""
    read = ("model.", "progress: step", "no model", "no tensor")
    seen = tried(
        stopped,
        lambda forgery: forgery.name.startswith(read),
        lambda: run_folder.load_model(stopped, config(), torch.device("cpu")),
    )
    assert len(seen) > 30
    # Of one file the weights are good: that the step is another is seen by what the optimiser counted.
    believed = ["progress: step 4", "progress: step 0"] if (stopped / FILE).exists() else []
    assert [name for name, told in seen.items() if told is None] == believed
    assert [told for told in seen.values() if told and "\n" in told] == []
