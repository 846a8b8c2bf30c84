"""What cannot be printed ends no training; what cannot be written is told with file and command, nothing is torn."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from errno import ENOLCK
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers.command_line import QUICK, settings
from helpers.kept_checkpoints import kept_file
from helpers.small_corpus import write_corpus
from helpers.small_run import config, losses, trainer
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.errors import RunFolderError, RunFolderWarning
from memstack_models.training.lock import locked
from memstack_models.training.log import REJECTED


@contextmanager
def no_file_beyond(size: int) -> Generator[None, None, None]:
    """Writes really fail, and in their middle: as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_log_without_room_leaves_no_half_line_and_says_how_to_go_on(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", config(checkpoint_every=3))

    def fill(entry: object) -> None:
        if run.step == 4:
            full.__enter__()

    log = tmp_path / "run" / run_folder.LOG
    full = no_file_beyond(1000)
    try:
        with pytest.raises(RunFolderError) as caught:
            run.train(fill)
    finally:
        full.__exit__(None, None, None)
    told = f"mend that, then go on with: memstack train --resume --out {tmp_path / 'run'}"
    assert str(caught.value).startswith(f"{log} cannot be written (")
    assert str(caught.value).endswith(told)
    assert log.read_bytes().endswith(b"}\n")
    assert len(losses(tmp_path / "run")) >= 4
    second = trainer(tmp_path / "run", config(checkpoint_every=3))
    second.resume()
    second.train()
    trainer(tmp_path / "whole", config()).train()
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_folder_that_disappears_is_told(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", config())
    with pytest.raises(RunFolderError, match=r"log\.jsonl cannot be written .*go on with: memstack train --resume"):
        run.train(lambda entry: shutil.rmtree(tmp_path / "run"))


def test_a_checkpoint_without_room_says_how_to_go_on(tmp_path: Path) -> None:
    run = trainer(tmp_path, config())
    run.save()
    with no_file_beyond(4096), pytest.raises(CheckpointError) as caught:
        run.save()
    assert str(caught.value).endswith(f"go on with: memstack train --resume --out {tmp_path}")
    assert [path.name for path in tmp_path.glob("*.writing")] == []


def test_a_run_that_cannot_be_begun_is_none(tmp_path: Path) -> None:
    with no_file_beyond(10), pytest.raises(RunFolderError, match=r"cannot be written .*mend that, then start again"):
        trainer(tmp_path / "run", config())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    with no_file_beyond(10), pytest.raises(RunFolderError), run_folder.held(tmp_path / "run"):
        run_folder.create(tmp_path / "run", config(), ByteTokenizer())
    assert list((tmp_path / "run").iterdir()) == []
    trainer(tmp_path / "run", config()).train()


def test_a_resumed_run_needs_room_for_two_checkpoints_and_minds_no_change_of_the_old_one(tmp_path: Path) -> None:
    """Nothing of the old file is mapped: its room is free once it is replaced, and shortened it harms nobody."""
    run = trainer(tmp_path, config())
    run.advance()
    run.save()
    second = trainer(tmp_path, config())
    second.resume()
    maps = Path("/proc/self/maps")
    if maps.is_file():
        assert ".safetensors" not in maps.read_text()
    with kept_file(tmp_path).open("r+b") as file:
        file.truncate(10)
    second.train()
    trainer(tmp_path / "whole", config()).train()
    assert losses(tmp_path) == losses(tmp_path / "whole")[1:]


@pytest.mark.parametrize(
    "line",
    [
        b"[1, 2]",
        b"7",
        b"null",
        b'"step"',
        b"not JSON",
        b'{"step": 3}',
        b'{"kind": "dream", "version": 1, "step": 3}',
        b'{"step": 1, "step": 2}',
        b"\x00" * 100,
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"step": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda line: str(line[:20]),
)
def test_a_whole_line_of_a_log_that_is_no_entry_is_told_and_kept_aside(tmp_path: Path, line: bytes) -> None:
    run = trainer(tmp_path, config(steps=4))
    run.train()
    log = tmp_path / run_folder.LOG
    first, *others = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([first, line + b"\n", *others, b'{"half']))
    second = trainer(tmp_path, config(steps=4))
    second.resume()
    with pytest.warns(RunFolderWarning, match=r"log\.jsonl had a line that is no entry: kept in .*log\.rejected"):
        second.train()
    assert (tmp_path / REJECTED).read_bytes() == line + b"\n"
    assert log.read_bytes() == b"".join([first, *others])


def test_where_there_are_no_locks_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(lock: Any) -> None:
        raise OSError(ENOLCK, "no locks available")

    monkeypatch.setattr(FileLock, "acquire", none)
    with pytest.warns(RunFolderWarning, match="has no locks: nothing keeps a second training out of it"):
        trainer(tmp_path, config(steps=2)).train()
    assert len(losses(tmp_path)) == 2


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from memstack_models.training.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunFolderError, match=f"process {process.pid} on "), locked(tmp_path):
            pass
        process.kill()
        process.wait()
    with locked(tmp_path) as notice:
        assert notice is None


@pytest.mark.parametrize("output", ["closed", "/dev/full"])
def test_a_training_whose_output_cannot_be_printed_goes_on(tmp_path: Path, output: str) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents=3, words=300)
    arguments = settings(*QUICK, f"data.corpus={corpus}", "train.steps=6")
    command = [sys.executable, "-m", "memstack", "train", "tiny", *arguments, "--out", str(tmp_path / "run")]
    if output == "closed":
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait() == 0
    else:
        with Path(output).open("w") as full:
            subprocess.run(command, stdout=full, stderr=full, check=False)
    assert len(losses(tmp_path / "run")) == 6
    entry = json.loads((tmp_path / "run" / run_folder.LOG).read_text().splitlines()[-1])
    assert entry["step"] == checkpoint.load(tmp_path / "run")[1]["step"] == 6
