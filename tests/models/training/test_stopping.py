"""A signal has the step finished, saved, and the command to go on told; one process at a time trains in a folder."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import QUICK, Run, settings
from helpers.small_run import config, losses, trainer
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.errors import RunFolderError, TrainingStopped, going_on
from memstack_models.training.lock import locked
from memstack_models.training.parallel import SharedModel
from memstack_models.training.records import LogEntry
from memstack_models.training.trainer import Trainer

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
HANDLERS = {number: signal.getsignal(number) for number in SIGNALS}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Every test leaves the handlers as they were."""
    yield
    for number, former in HANDLERS.items():
        now = signal.getsignal(number)
        signal.signal(number, former)
        assert now == former


def test_the_command_to_go_on_starts_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert going_on(Path("my run")) == "memstack train --resume --out 'my run'"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert going_on(Path("runs/k")) == "torchrun --nproc-per-node 2 -m memstack train --resume --out runs/k"


def raising(step: int, number: int) -> Callable[[LogEntry], None]:
    """A report that asks to stop at a step."""
    return lambda entry: signal.raise_signal(number) if entry.step == step else None


def calling_first(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, first: Callable[[], object]) -> None:
    """From now on something happens, once, whenever a function begins."""
    function = getattr(owner, name)
    waiting = [first]

    def both(*given: Any, **named: Any) -> Any:
        if waiting:
            waiting.pop()()
        return function(*given, **named)

    monkeypatch.setattr(owner, name, both)


def stop(run: Trainer, **named: Any) -> TrainingStopped:
    with pytest.raises(TrainingStopped) as stopped:
        run.train(**named)
    return stopped.value


def go_on(folder: Path, **settings: object) -> Trainer:
    run = trainer(folder, config(**settings))
    run.resume()
    run.train()
    return run


def measured(folder: Path) -> list[dict[str, Any]]:
    """The log without what a clock says."""
    lines = (folder / run_folder.LOG).read_text(encoding="utf-8").splitlines()
    clock = ("tokens_per_s", "search_ms", "add_ms")
    return [{key: value for key, value in json.loads(line).items() if key not in clock} for line in lines]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_has_the_step_finished_and_saved_and_the_run_goes_on_to_the_bit(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "it's here"
    stopped = stop(trainer(folder, config()), report=raising(5, number))
    name = signal.Signals(number).name
    told = f"memstack train --resume --out '{tmp_path}/it'\"'\"'s here'"
    assert str(stopped) == f"stopped by {name} at step 5, saved; go on with: {told}"
    assert stopped.exit_code == 128 + number
    assert checkpoint.load(folder)[1]["step"] == 5  # the last but for the signal would have been that of step 4
    go_on(folder)
    trainer(tmp_path / "whole", config()).train()
    assert measured(folder) == measured(tmp_path / "whole")


def test_a_signal_before_the_first_step_saves_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calling_first(monkeypatch, run_folder, "rewind_log", lambda: signal.raise_signal(signal.SIGTERM))
    assert "at step 0, saved" in str(stop(trainer(tmp_path / "run", config())))
    go_on(tmp_path / "run")
    trainer(tmp_path / "whole", config()).train()
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@pytest.mark.parametrize("validation", [4, 12])
def test_a_signal_while_validating_ends_that_and_it_is_done_anew(
    tmp_path: Path, validation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the very end, when all steps are done."""
    run = trainer(tmp_path / "run", config(validate_every=4))
    validate = run.validate

    def interrupted(*given: Any) -> Any:
        if run.step == validation:
            signal.raise_signal(signal.SIGINT)
        return validate(*given)

    monkeypatch.setattr(run, "validate", interrupted)
    assert f"at step {validation}, saved" in str(stop(run))
    go_on(tmp_path / "run", validate_every=4)
    trainer(tmp_path / "whole", config(validate_every=4)).train()
    assert measured(tmp_path / "run") == measured(tmp_path / "whole")


def test_a_signal_during_a_save_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calling_first(monkeypatch, checkpoint, "save", lambda: signal.raise_signal(signal.SIGTERM))
    assert "at step 4, saved" in str(stop(trainer(tmp_path, config())))
    assert checkpoint.load(tmp_path)[1]["step"] == 4


def test_a_second_signal_ends_at_once_and_leaves_the_disk_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here in the middle of the save that the first one asked for: the checkpoint before it stays."""

    def again() -> None:
        (tmp_path / checkpoint.WRITING / "rank-0.safetensors").write_bytes(b"half")
        signal.raise_signal(signal.SIGTERM)

    def report(entry: LogEntry) -> None:
        if entry.step == 6:
            calling_first(monkeypatch, checkpoint, "save_file", again)
            signal.raise_signal(signal.SIGINT)

    stopped = stop(trainer(tmp_path, config()), report=report)
    assert "stopped at once by SIGTERM; go on from the last checkpoint with: memstack train" in str(stopped)
    assert stopped.exit_code == 143
    assert checkpoint.load(tmp_path)[1]["step"] == 4
    assert [path.name for path in tmp_path.glob("*.writing")] == []
    go_on(tmp_path)
    trainer(tmp_path / "whole", config()).train()
    assert losses(tmp_path) == losses(tmp_path / "whole")


def test_what_a_signal_breaks_in_passing_ends_as_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that torch has started is in the same terminal: Ctrl-C ends it, and the step fails."""

    def killed(*given: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the compiler was interrupted")

    run = trainer(tmp_path, config())
    monkeypatch.setattr(SharedModel, "clip", killed)
    assert "at step 0, nothing is saved yet; go on with: memstack train" in str(stop(run))


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As SIGHUP is under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        trainer(tmp_path, config(steps=3)).train(raising(2, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, HANDLERS[signal.SIGHUP])
    assert len(losses(tmp_path)) == 3


def test_another_handler_has_its_turn_once_all_is_saved(tmp_path: Path) -> None:
    """As a cluster's own, in a program that trains as a library's user."""
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(checkpoint.load(tmp_path)[1]["step"]))
    try:
        stop(trainer(tmp_path, config()), report=raising(3, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, HANDLERS[signal.SIGTERM])
    assert seen == [3]


@pytest.mark.filterwarnings("ignore:.*fork")  # said where another test has loaded a library with threads
def test_a_process_that_is_forked_meanwhile_ends_as_ever(tmp_path: Path) -> None:
    """As a worker that loads data, or compiles, does when it is told to."""
    ended: list[int] = []

    def fork(entry: LogEntry) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"up")  # Python drops what comes while it forks
            time.sleep(30)
            os._exit(0)
        os.read(reading, 2)
        os.close(reading)
        os.close(writing)
        os.kill(child, signal.SIGTERM)
        ended.append(os.waitpid(child, 0)[1])

    trainer(tmp_path, config(steps=1)).train(fork)
    assert [os.WTERMSIG(status) for status in ended] == [signal.SIGTERM]


def test_outside_of_the_main_thread_no_handler_is_set(tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: trainer(tmp_path, config(steps=2)).train())
    thread.start()
    thread.join()
    assert len(losses(tmp_path)) == 2


def test_the_command_says_how_to_go_on_and_does(memstack: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(*QUICK, f"data.corpus={corpus}", "train.steps=9")
    calling_first(monkeypatch, Trainer, "advance", lambda: signal.raise_signal(signal.SIGTERM))
    code, _, err = memstack("train", "tiny", *chosen, "--out", "my run")
    assert code == 143
    line = "stopped by SIGTERM at step 1, saved; go on with: memstack train --resume --out 'my run'"
    assert err.splitlines()[-1] == line
    code, out, _ = memstack("train", "--resume", "--out", "my run")
    assert (code, "resuming at step 1 of 9" in out, "trained to step 9" in out) == (0, True, True)
    assert len(losses(Path("my run"))) == 9


def written(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_training_in_a_folder_is_told_who_is_there(memstack: Run, corpus: Path) -> None:
    """One lock, held from the start to the end by whoever begins, resumes, or trains in code."""
    chosen = settings(*QUICK, f"data.corpus={corpus}")
    assert memstack("train", "tiny", *chosen, "--out", "run")[0] == 0
    before = written(Path("run"))
    Path("begun").mkdir()
    with locked(Path("run")), locked(Path("begun")):
        for line in (("train", "--resume", "--out", "run"), ("train", "tiny", *chosen, "--out", "begun")):
            code, _, err = memstack(*line)
            assert code == 2
            assert f"is being trained in by process {os.getpid()} on " in err
            assert len(err.strip().splitlines()) == 1
        with pytest.raises(RunFolderError, match="is being trained in by process"):
            trainer(Path("run"), config()).train()
        code, _, err = memstack("export", "run", "begun")
        assert (code, "is being trained in" in err) == (2, True)
        assert memstack("eval", "run")[0] == 0
    assert written(Path("run")) == before
    assert [path.name for path in Path("begun").iterdir()] == ["run.lock"]
    assert memstack("export", "run", "begun")[0] == 0
