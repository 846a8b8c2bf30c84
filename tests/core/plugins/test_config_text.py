"""Configuration text: whatever a file or a --set holds, it is read or refused in one line that says what is wrong."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from memstack_models.training.config import RunConfig

from memstack import ConfigError
from memstack.contract.errors import RecordError
from memstack.plugins.config import Frozen, apply, dump, load
from memstack.plugins.records import Record

GOOD = '[model]\npreset = "tiny"\n'


class Note(Frozen):
    """A section with a path in it."""

    path: str


def refusal(path: Path, *overrides: str) -> str:
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load(RunConfig, path, overrides)
    assert time.monotonic() - started < 5
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 500
    return text


@pytest.mark.parametrize(
    "content", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD.replace("\n", "\r\n")]
)
def test_a_byte_order_mark_and_other_line_ends_are_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content.encode())
    assert load(RunConfig, path) == RunConfig.model_validate({"model": {"preset": "tiny"}})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD.encode("utf-16"), "is in UTF-16: save it as UTF-8"),
        (GOOD.encode("utf-16-be"), "holds NUL characters"),
        (b'title = "caf\xe9"', "is not in UTF-8 (invalid continuation byte at byte 12)"),
        (GOOD.encode() + b"\0", "holds NUL characters"),
        (b"seed = " + b"9" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"seed = 0x" + b"9" * 5000, "seed is a number of more than 64 bits"),
        (b"[train]\nseed = -0x" + b"9" * 5000, "is not valid TOML"),
        (b"seed = " + b"[" * 2000 + b"]" * 2000, "there are too many brackets in one another"),
        (b"seed = " + b"[" * 100 + b"]" * 100, "lies deeper than 32 sections or brackets"),
        (b"a." * 100 + b"b = 1", "lies deeper than 32 sections"),
        (b"a." * 6000 + b"b = 1", "lies deeper than 32 sections"),
        (b"seed = 1\nseed = 2", "is not valid TOML: Cannot overwrite a value"),
        (b"[a]\n[a]", "is not valid TOML: Cannot declare"),
        (b'"a\\nb" = 1\n' + GOOD.encode(), "'a\\nb' is not a known key"),
        (b'"a\\u0000b" = 1', "holds '\\x00', which is no text"),
        (b'[data]\ncorpus = "a\\u0000b"', "data.corpus holds '\\x00', which is no text"),
        (b"k" * 3000 + b" = 1\n" + GOOD.encode(), "is not a known key"),
        (b'[model]\npreset = "' + b"x" * 50_000 + b'"', "(50,002 characters)"),
        (b"#" * 200_000, "is longer than 100,000 bytes"),
        (b"", "model: Field required"),
    ],
    ids=range(20),
)
def test_odd_text_in_a_file_is_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    assert told in refusal(path)
    assert refusal(path).startswith(str(path))


def missing(path: Path) -> None:
    """Nothing is there."""


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (missing, "there is no configuration file"),
        (Path.mkdir, "is a folder, not a file"),
        (os.mkfifo, "is a pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (lambda path: path.symlink_to(path), "cannot be read as a configuration"),
    ],
)
def test_what_is_no_file_is_one_line(tmp_path: Path, make: Callable[[Path], None], told: str) -> None:
    make(tmp_path / "run.toml")
    assert told in refusal(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.seed=" + "9" * 5000, "--set train.seed: Exceeds the limit"),
        ("train.rows=" + "[" * 2000 + "]" * 2000, "--set train.rows: there are too many brackets in one another"),
        ("train.rows=" + "[" * 50 + "]" * 50, "--set: 'train.rows' lies deeper than 32"),
        ("train.rows=0", "--set train.rows: Input should be greater than"),
        ("train.rows=0x" + "9" * 5000, "--set: train.rows is a number of more than 64 bits"),
        ("train.rws=1", "--set train.rws is not a known key; did you mean 'rows'"),
        ("train.rows=a\nb", "--set train.rows: Input should be a valid integer"),
        ("train.rows=1\nsteps=2", "--set train.rows: Input should be a valid integer"),
        ("data.corpus=\udce9", "--set: data.corpus holds '\\udce9', which is no text in UTF-8"),
        ("data.corpus=a\0b", "--set: data.corpus holds '\\x00'"),
        ("data.\udce9=1", "is no text in UTF-8"),
        ("memory.capacity=1152921504606846976000", "--set: memory.capacity is a number of more than 64 bits"),
        ("memory.capacity=9152921504606846976", "--set memory.capacity: Input should be less than 46116860"),
        ("memory.neighbours=1000000000000", "--set memory.neighbours: Input should be less than or equal to 65536"),
        ("memory.probe.sampled=1000000000000", "--set memory.probe.sampled: Input should be less than or equal to"),
        ("train=3", "--set train: Input should be a valid dictionary"),
        ("train.accumulation=3", "--set train.accumulation: train: rows (8) should be a multiple"),
        ("=1", "a setting is key=value"),
        ("train..rows=1", "a setting is key=value"),
        (".=1", "a setting is key=value"),
        ("a." * 50 + "b=1", "a setting is key=value"),
        ("nothing", "a setting is key=value, such as memory.backend=hnsw; got 'nothing'"),
    ],
    ids=range(22),
)
def test_odd_text_in_a_setting_is_one_line_that_names_it(tmp_path: Path, override: str, told: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(GOOD, encoding="utf-8")
    text = refusal(path, override)
    assert told in text
    assert str(path) not in text


def test_where_the_file_is_wrong_no_setting_is_blamed(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"{GOOD}[train]\nrows = 0\n", encoding="utf-8")
    assert refusal(path, "memory.capacity=64").startswith(f"{path}: train.rows: ")
    path.write_text(f"{GOOD}[train]\nrows = 3\naccumulation = 2\n", encoding="utf-8")
    assert refusal(path, "train.steps=64").startswith(f"{path}: train: ")


def test_a_secret_in_a_setting_is_not_repeated() -> None:
    for override in (".token=hidden", "a..token=hidden", "token.=hidden"):
        with pytest.raises(ConfigError) as caught:
            apply({}, [override])
        assert "hidden" not in str(caught.value)


def test_a_setting_of_several_lines_is_one_value() -> None:
    assert apply({}, ["list=[1,\n 2]", "text=1\nother = 2"]) == {"list": [1, 2], "text": "1\nother = 2"}


def test_a_path_that_is_not_utf_8_is_not_written_down() -> None:
    with pytest.raises(ConfigError, match=r"the configuration: path holds '\\udce9'"):
        dump(Note(path="caf\udce9"))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Path.mkdir, "is a folder, not a file; name another file"),
        (os.mkfifo, "is a pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
    ],
)
def test_a_record_that_is_no_file_is_one_line(tmp_path: Path, make: Callable[[Path], None], told: str) -> None:
    make(tmp_path / "note.json")
    with pytest.raises(RecordError, match=told):
        Record.read(tmp_path / "note.json")
