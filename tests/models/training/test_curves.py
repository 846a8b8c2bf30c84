"""A run's curves: what event files and W&B are told, of a run cut short as well."""

import importlib
import json
import sys
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.small_run import config, losses, train_until, trainer
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.curves import WANDB
from memstack_models.training.errors import RunFolderError
from memstack_models.training.records import StepEntry, log_entry

from memstack import ConfigError

STEP = {"kind": "step", "version": 1, "step": 1, "loss": 2.0, "rate": 0.1, "tokens_per_s": 5, "memory_share": []}


def drawn(**train: Any) -> RunConfig:
    return config(curves="tensorboard", validate_every=4, **train)


def events(folder: Path) -> Iterator[tuple[str, int, float]]:
    """The points of the run's one event file: name, step and value, as a reader of such files finds them."""
    event_class: Any = importlib.import_module("tensorboardX.proto.event_pb2").Event
    checksum: Any = importlib.import_module("tensorboardX.record_writer").masked_crc32c

    def masked(part: bytes) -> bytes:
        return checksum(part).to_bytes(4, "little")

    [path] = folder.glob("events.out.tfevents.*")
    left = path.read_bytes()
    while left:
        length = int.from_bytes(left[:8], "little")
        event = event_class.FromString(left[12 : 12 + length])
        header, record = left[:8], left[12 : 12 + length]
        assert left[8:12] == masked(header)
        assert left[12 + length : 16 + length] == masked(record)
        left = left[16 + length :]
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)


def test_event_files_hold_what_the_log_does(tmp_path: Path) -> None:
    trainer(tmp_path, drawn()).train()
    found = list(events(tmp_path))
    assert [value for name, _, value in found if name == "loss"] == pytest.approx(losses(tmp_path))
    names = Counter(name for name, _, _ in found)
    assert names["gain"] == names["validation_perplexity/with_memory"] == 3
    assert names["memory_share/layer_2/head_1"] == names["loss"] == 12
    assert names["age/layer_1"] == names["age/layer_2"] > 1
    assert "recall" not in names


def test_a_resumed_run_goes_on_without_double_points(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(whole, drawn()).train()
    train_until(trainer(cut, drawn()), 7)
    again = trainer(cut, drawn())
    again.resume()
    assert again.step == 4
    again.train()
    same = [
        {(name, step): value for name, step, value in events(folder) if "_ms" not in name} for folder in (whole, cut)
    ]
    speed = {key for key in same[0] if key[0] == "tokens_per_s"}
    ages = {key for key in same[0] if key[0].startswith("age")}  # of which search is the tenth starts again
    kept = [{key: value for key, value in each.items() if key not in speed | ages} for each in same]
    assert set(kept[0]) == {key for key in kept[1] if not key[0].startswith("age")}
    assert all(kept[1][key] == pytest.approx(value) for key, value in kept[0].items())
    assert max(Counter((name, step) for name, step, _ in events(cut)).values()) == 1


def test_curves_asked_for_late_have_all_that_came_before(tmp_path: Path) -> None:
    train_until(trainer(tmp_path, config()), 7)
    assert not list(tmp_path.glob("events*"))
    late = trainer(tmp_path, config(curves="tensorboard"))
    late.resume()
    run_folder.refuse_other(tmp_path, late.run)  # it decides no loss
    late.train()
    assert [step for name, step, _ in events(tmp_path) if name == "loss"] == list(range(1, 13))


def test_an_event_file_that_cannot_be_written_ends_the_run_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    made = trainer(tmp_path, drawn())
    monkeypatch.setattr("memstack_models.training.curves._framed", full)
    with pytest.raises(RunFolderError, match=r"No space left on device.*go on with: memstack train --resume"):
        made.train()


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_what_is_not_installed_is_named_before_anything_is_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memstack_models.training.curves.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"train\.curves = '{kind}' needs \w+: pip install"):
        trainer(tmp_path / "run", config(curves=kind))


class FakeRun:
    """A run of W&B, as far as it is used: steps only rise."""

    def __init__(self, name: str, step: int) -> None:
        self.id, self.step, self.told, self.finished = name, step, list[tuple[int, dict[str, float]]](), False

    def log(self, numbers: dict[str, float], step: int) -> None:
        assert step >= self.step
        self.step = step
        self.told.append((step, numbers))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """A stand-in for the library; the runs that it was asked for."""
    runs: list[FakeRun] = []

    def init(**given: Any) -> FakeRun:
        assert given["resume"] == "allow"
        assert json.dumps(given["config"])
        runs.append(FakeRun(given["id"] or "first", max([run.step for run in runs], default=0)))
        return runs[-1]

    module = types.ModuleType("wandb")
    module.__dict__.update(init=init, __spec__=types.SimpleNamespace(name="wandb"))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_wandb_goes_on_with_the_same_run_and_is_told_nothing_twice(tmp_path: Path, wandb: list[FakeRun]) -> None:
    train_until(trainer(tmp_path, config(curves="wandb")), 7)
    again = trainer(tmp_path, config(curves="wandb"))
    again.resume()
    again.train()
    first, second = wandb
    assert first.id == second.id == (tmp_path / WANDB).read_text().strip()
    assert first.finished
    assert second.finished
    steps = [step for run in wandb for step, _ in run.told]
    assert steps == list(range(1, 13))
    assert [numbers["loss"] for run in wandb for _, numbers in run.told] == pytest.approx(losses(tmp_path))


def test_an_entry_of_an_earlier_run_has_no_ages() -> None:
    entry = log_entry(STEP | {"search_ms": 1.0, "add_ms": 1.0}, "here")
    assert isinstance(entry, StepEntry)
    assert entry.age_by_layer is None
    assert "age_by_layer" not in entry.as_json()
