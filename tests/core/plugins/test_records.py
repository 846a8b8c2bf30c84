"""Records: what is written is read again, and nothing else is; a failed write leaves what was there."""

import json
import math
import os
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from memstack.contract.errors import RecordError
from memstack.measure import Measurement, Point
from memstack.measure.timing import Timing
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record, RecordedOptions
from memstack.plugins.writing import write_whole

NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
OPTIONS = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | NUMBERS | st.text(max_size=5), max_size=3)


class Found(Frozen):
    """A part of a record."""

    recall: float | None = None
    options: RecordedOptions


class Note(Record):
    """A record such as the commands write."""

    kind: Literal["note"] = "note"
    name: str
    found: dict[str, tuple[Found, ...]]
    measured: tuple[Measurement, ...] = ()


class Other(Record):
    """A record of another kind, with the same fields."""

    kind: Literal["other"] = "other"
    name: str
    found: dict[str, tuple[Found, ...]]


NOTE = Note(name="one", found={"a/64": (Found(recall=0.5, options={"m": 8}),)})
FOUND = st.builds(Found, recall=st.none() | st.floats(allow_nan=False), options=OPTIONS)
NOTES = st.builds(Note, name=st.text(), found=st.dictionaries(st.text(), st.lists(FOUND, max_size=2).map(tuple)))


@given(NOTES)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, note: Note) -> None:
    """Also infinite numbers, names that are not ASCII, and options that are None."""
    path = tmp_path_factory.getbasetemp() / "round.json"
    note.write(path)
    assert Note.read(path) == note
    assert list(json.loads(path.read_text(encoding="utf-8")))[:2] == ["kind", "version"]


def test_what_a_memory_was_measured_to_do_is_read_again(tmp_path: Path) -> None:
    """Keys that are numbers come back as numbers, dataclasses as what they were."""
    timing = Timing((0.1, 0.2))
    measured = Measurement(
        key_set="clustered",
        neighbours=4,
        recall=1.0,
        attention_mass_recall=1.0,
        search={64: timing},
        beside={},
        fill=timing,
        add=timing,
        reset=timing,
    )
    (note := NOTE.model_copy(update={"measured": (measured,)})).write(tmp_path / "note.json")
    assert Note.read(tmp_path / "note.json") == note


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    Note(name="one", found={"none": (Found(options={"x": None}),)}).write(tmp_path / "note.json")
    assert json.loads((tmp_path / "note.json").read_text())["found"] == {"none": [{"options": {"x": None}}]}


def test_a_number_that_is_none_is_kept(tmp_path: Path) -> None:
    Note(name="one", found={"a": (Found(recall=math.nan, options={}),)}).write(tmp_path / "note.json")
    (found,) = Note.read(tmp_path / "note.json").found["a"]
    assert found.recall is not None
    assert math.isnan(found.recall)


def test_an_option_that_json_does_not_know_is_written_as_text() -> None:
    note = Note(name="one", found={"a": (Found(options={"dtype": torch.bfloat16}),)})
    assert json.loads(note.as_json())["found"]["a"] == [{"options": {"dtype": "torch.bfloat16"}}]


def test_no_record_holds_a_secret() -> None:
    found = Found(
        options={"m": 8, "api_key": SecretStr("hidden"), "auth": {"token": SecretStr("hidden"), "user": "me"}}
    )
    assert found.options == {"m": 8, "auth": {"user": "me"}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is damaged, it is no JSON"),
        ("{", "is damaged, it is no JSON"),
        ("[" * 100_000, "is damaged, it is no JSON"),
        ('{"kind": "note", "kind', "is damaged, it is no JSON"),
        ("[1]", "is no record of memstack; one of kind 'note' was expected: name another file"),
        ('{"name": "one"}', "is no record of memstack"),
        (Other(name="one", found={}).as_json(), "is a record of kind 'other'; one of kind 'note' was expected"),
        ('{"kind": "note", "name": "one"}', "is a note of version None; this memstack reads version 1"),
        ('{"kind": "note", "version": 2}', "is a note of version 2; .*: install a newer memstack, or measure again"),
        ('{"kind": "note", "version": 1, "found": {}}', "is damaged: name: Field required; use another copy, or"),
        (NOTE.as_json().replace("0.5", '"half"'), r"is damaged: found.*recall: .*got 'half'"),
        (NOTE.as_json().replace('"name"', '"nam"'), "is damaged: name: Field required"),
        (NOTE.as_json().replace('"recall"', '"recal"'), "is damaged: .*recal is not a known key"),
    ],
    ids=range(13),
)
def test_what_is_no_such_record_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "note.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=told) as caught:
        Note.read(path)
    assert str(caught.value).startswith(f"{path} ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@given(st.binary(max_size=40))
def test_whatever_the_bytes_are_they_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(content)
    with pytest.raises(RecordError):
        Note.read(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"there is no file .*note\.json"):
        Note.read(tmp_path / "note.json")


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "new" / "note.json"
    NOTE.write(path)
    before = path.read_bytes()

    def full(file: Path, *given: object, **named: object) -> None:
        if step == "write_bytes":
            with file.open("wb") as begun:
                begun.write(b'{"half')
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, full)
        with pytest.raises(OSError, match=r"No space left on device: .*note"):
            NOTE.model_copy(update={"name": "two"}).write(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["note.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_device_that_is_full_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        NOTE.write(Path("/dev/full"))


def test_a_pipe_is_written_to() -> None:
    """As ``--json /dev/stdout`` is: nothing can be renamed over it."""
    reading, writing = os.pipe()
    write_whole(Path(f"/dev/fd/{writing}"), "text\n")
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "text\n"


def test_a_record_is_frozen_and_knows_its_fields() -> None:
    with pytest.raises(ValueError, match="frozen"):
        NOTE.name = "two"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="colour"):
        Point.model_validate({"colour": "red"})
