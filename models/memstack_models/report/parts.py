"""Parts: what a report has measured so far, kept beside it, so that one that is cut short goes on where it was."""

import contextlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from memstack.contract.errors import RecordError
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record
from memstack.plugins.writing import write_whole

FILE = "parts.jsonl"


class PartsHead(Record):
    """The first line: what the parts were measured with. Only a report of the same takes them over."""

    kind: Literal["parts"] = "parts"
    measured_with: dict[str, Any]


class Part(Frozen):
    """A line: one measurement, or why it was given up."""

    name: str
    value: dict[str, Any] | None = None
    given_up: str = ""


class Parts:
    """The measurements of a report in a file of its folder, each written as soon as it is there.

    What was measured with anything else is dropped, and so is a line that was cut off. What failed is not kept: it is
    tried again.
    """

    def __init__(self, folder: Path, measured_with: dict[str, Any]) -> None:
        self.path = folder / FILE
        head = PartsHead(measured_with=measured_with).as_json()
        self._found = _read(self.path, head)
        self.taken_over = len(self._found)
        """Measurements of a report that was cut short."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [head, *map(_line, self._found.values())]
        write_whole(self.path, "".join(f"{line}\n" for line in lines))

    def find(self, name: str) -> Part | None:
        """A measurement that is there already."""
        return self._found.get(name)

    def keep(self, name: str, value: BaseModel | None, given_up: str = "") -> None:
        """Write one down: what was measured, or None and why it was given up."""
        part = Part(name=name, value=None if value is None else value.model_dump(exclude_none=True), given_up=given_up)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(part) + "\n")

    def done(self) -> None:
        """Drop them: the report is written."""
        self.path.unlink(missing_ok=True)


def _line(part: Part) -> str:
    # The perplexity of a model that knows nothing may not be finite, and an option may be anything.
    return to_json(part.model_dump(), inf_nan_mode="constants", fallback=str).decode()


def _read(path: Path, head: str) -> dict[str, Part]:
    """The parts of a file that begins with this head."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    if not lines or not _same(lines[0], head):
        return {}
    found: dict[str, Part] = {}
    for line in lines[1:]:
        with contextlib.suppress(ValueError):  # cut off, as the last one may be: it is measured again
            part = Part.model_validate(from_json(line))
            found[part.name] = part
    return found


def _same(line: str, head: str) -> bool:
    try:
        return PartsHead.of(from_json(line), FILE) == PartsHead.of(from_json(head), FILE)
    except (ValueError, RecordError):
        return False
