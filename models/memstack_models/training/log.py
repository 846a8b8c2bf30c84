"""A run's log: lines of JSON, written whole or not at all; read again, rewound to a checkpoint."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from memstack.contract.errors import RecordError
from memstack.plugins.writing import write_whole
from memstack_models.training.errors import writing
from memstack_models.training.records import LogEntry, log_entry, strict_json

LOG, REJECTED = "log.jsonl", "log.rejected.jsonl"


def append_log(folder: Path, entry: LogEntry) -> None:
    """Add one line to the run's log; RunFolderError if there is no room for all of it, and then none of it is left."""
    line = (entry.as_json() + "\n").encode()
    with writing(folder / LOG), (folder / LOG).open("ab", buffering=0) as log:
        size = log.tell()
        try:
            if log.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with suppress(OSError):  # the disk may be gone altogether: the first error says why
                log.truncate(size)
            raise


def rewind_log(folder: Path, step: int) -> str | None:
    """Drop what a killed run logged after its last checkpoint; a line cut in half goes as well.

    Whole lines that are no entries are kept aside, in ``REJECTED``: then it returns a line to show, else None.
    """
    rejected = [line for line in _lines(folder) if line.strip() and _entry(line) is None]
    if rejected:
        with writing(folder / REJECTED), (folder / REJECTED).open("ab") as aside:
            aside.write(b"".join(rejected))
    text, path = "".join(lines_until(folder, step)), folder / LOG
    with writing(path):
        if not path.is_file() or path.read_bytes() != text.encode():
            write_whole(path, text)
    count = "a line that is no entry" if len(rejected) == 1 else f"{len(rejected)} lines that are no entries"
    return f"{path} had {count}: kept in {folder / REJECTED}" if rejected else None


def read_log(folder: Path) -> list[LogEntry]:
    """The run's log, entry by entry; RecordError for a line that is none. A last line without an end is none yet."""
    return [_parsed(line, f"{folder / LOG}, line {number}") for number, line in enumerate(_lines(folder), 1)]


def lines_until(folder: Path, step: int = sys.maxsize) -> list[str]:
    """Return the log's lines that are entries of steps up to this one, as they stand there."""
    entries = [(line, _entry(line)) for line in _lines(folder)]
    return [line.decode() for line, entry in entries if entry is not None and entry.step <= step]


def _lines(folder: Path) -> list[bytes]:
    """The lines that were written to their end. Not by splitlines, which parts at what JSON allows inside a text."""
    path = folder / LOG
    return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]] if path.is_file() else []


def _entry(line: bytes) -> LogEntry | None:
    try:
        return _parsed(line, "")
    except RecordError:
        return None


def _parsed(line: bytes, origin: str) -> LogEntry:
    try:
        tree = strict_json(line.decode())
    except ValueError as error:
        raise RecordError(f"{origin} is damaged, it is no JSON ({error})") from None
    if not isinstance(tree, dict):
        raise RecordError(f"{origin} is damaged: an entry is expected, got {type(tree).__name__}")
    return log_entry(tree, origin)
