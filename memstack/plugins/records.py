"""Record: what a command measured, in one JSON file that says what it is; written whole, read back by its own class."""

import textwrap
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from memstack.contract.errors import RecordError
from memstack.plugins.config import Frozen, first_problem
from memstack.plugins.paths import read_ordinary
from memstack.plugins.secrets import without_secrets
from memstack.plugins.writing import write_whole

RecordedOptions = Annotated[dict[str, Any], BeforeValidator(without_secrets)]
"""A backend's options as a record keeps them: without its secrets."""
MEND = "use another copy, or measure again"
LONGEST = 1 << 30
"""Bytes of a record that are read."""


class Record(Frozen):
    """Base of everything that is written down as JSON; a subclass gives its ``kind`` a literal and names its fields.

    What is None was not measured, and is left out of the file.
    """

    version: Literal[1] = 1

    def write(self, path: Path) -> None:
        """Write the record, making the folder it goes to; the file appears whole or not at all."""
        write_whole(path, self.as_json(indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote.

        Raises RecordError, in one line, for a file that is missing or damaged, of another kind or another version.
        """
        try:
            tree = from_json(read_ordinary(path, LONGEST))
        except FileNotFoundError:
            raise RecordError(f"there is no file {path}") from None
        except OSError as error:
            what = f"{cls.__name__}: {error.strerror}; name another file"
            raise RecordError(f"{path} cannot be read as a {what}") from None
        except ValueError as error:
            raise RecordError(f"{path} is damaged, it is no JSON ({error}): {MEND}") from None
        return cls.of(tree, str(path))

    @classmethod
    def of(cls, tree: Any, origin: str) -> Self:
        """Read a record from plain values; ``origin`` says in a RecordError where they came from."""
        found: Mapping[str, Any] = tree if isinstance(tree, Mapping) else {}
        kind, known = cls.model_fields["kind"].default, typing.get_args(cls.model_fields["version"].annotation)
        if found.get("kind") != kind:
            came = f"is a record of kind {found['kind']!r}" if "kind" in found else "is no record of memstack"
            raise RecordError(f"{origin} {came}; one of kind {kind!r} was expected: name another file")
        if found.get("version") not in known:
            raise RecordError(
                f"{origin} is a {kind} of version {found.get('version')!r}; this memstack reads version "
                f"{' or '.join(map(str, known))}: install a newer memstack, or measure again"
            )
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            problem = textwrap.shorten(first_problem(error, cls), 300)
            raise RecordError(f"{origin} is damaged: {problem}; {MEND}") from None

    def as_json(self, indent: int | None = None) -> str:
        """Return the record as JSON text, kind and version first."""
        tree = self.model_dump(exclude_none=True)
        first = {name: tree[name] for name in ("kind", "version")}
        # Not every number is finite: the perplexity of a model that knows nothing can be too large for one. And an
        # option may be anything.
        try:
            return to_json(first | tree, indent=indent, inf_nan_mode="constants", fallback=str).decode()
        except (PydanticSerializationError, UnicodeEncodeError):  # a path that is not UTF-8
            return to_json(_as_text(first | tree), indent=indent, inf_nan_mode="constants", fallback=str).decode()


def _as_text(value: Any) -> Any:
    """The value with every text in it, keys included, as UTF-8 can write it: what it cannot is spelled out."""
    if isinstance(value, Mapping):
        return {_as_text(key): _as_text(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(each) for each in value]
    if isinstance(value, str | Path):
        return str(value).encode(errors="backslashreplace").decode()
    return value
