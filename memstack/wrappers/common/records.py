"""What a store says of itself: whose keys it holds, of which shape, and which documents they came from.

A line of JSON each, added in the order in which things are done: a header, then every document whose entries are there,
then that all of them are. So what was begun and cut off is known by its last line.
"""

import bisect
import json
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from memstack.contract.errors import StateError
from memstack.plugins.bounds import Count, CountOrNone, Size
from memstack.plugins.config import Frozen, first_problem

FORMAT = 1
Dtype = Literal["float32", "bfloat16", "float16"]
Line = TypeVar("Line", bound=Frozen)


class LayerShape(Frozen):
    """Of the entries of one layer."""

    heads: Size
    key_dim: Size
    value_dim: Size


class Header(Frozen):
    """Whose keys a store holds, and where they lie."""

    format: Literal[1] = FORMAT
    model: str
    """What the model was called when the store was built."""
    digest: str
    """Of its weights: keys mean nothing to others."""
    layers: Annotated[dict[int, LayerShape], Field(min_length=1)]
    dtype: Dtype
    """Of the entries."""
    backend: str | None = None
    """What keeps the entries; None for the files beside this."""


class Read(Frozen):
    """A document whose entries are all there."""

    document: str
    entries: CountOrNone
    digest: str
    """Of its tokens."""
    first: CountOrNone = 0
    """Which of its tokens the first entry is of."""


class Finished(Frozen):
    """All that was to be read is there."""

    finished: Count
    """How many entries."""


class Source(NamedTuple):
    """Where an entry came from."""

    document: str
    token: int


class Contents(NamedTuple):
    """All that a store says of itself."""

    header: Header
    documents: "Documents"
    finished: bool

    @property
    def entries(self) -> int:
        """How many entries there are in each layer."""
        return self.documents.ends[-1] if self.documents.ends else 0


class Documents:
    """The documents of a store, in the order of their entries."""

    def __init__(self, read: Sequence[Read]) -> None:
        self.read = read

    @cached_property
    def ends(self) -> list[int]:
        """How many entries there are up to the end of each document."""
        return list(accumulate(each.entries for each in self.read))

    def source(self, position: int) -> Source:
        """Return which token an entry is of; IndexError if there is no such entry."""
        if not 0 <= position < (self.ends[-1] if self.ends else 0):
            raise IndexError(f"the store has no entry {position}")
        place = bisect.bisect_right(self.ends, position)
        found = self.read[place]
        return Source(found.document, found.first + position - (self.ends[place] - found.entries))


def as_line(record: Frozen) -> str:
    """Return a record as a line."""
    return json.dumps(record.model_dump(mode="json", exclude_none=True), ensure_ascii=True)


def contents_of(lines: Sequence[str], where: str) -> Contents | None:
    """Read what a store says of itself; None if it says nothing yet.

    Raises:
        StateError: a line is none of a store's, or of another format.
    """
    if not lines:
        return None
    header, read, finished = _read(lines[0], Header, where), list[Read](), False
    for line in lines[1:]:
        finished = line.startswith('{"finished"')
        if not finished:
            read.append(_read(line, Read, where))
    contents = Contents(header, Documents(read), finished)
    if finished and _read(lines[-1], Finished, where).finished != contents.entries:
        raise StateError(f"the store {where} is damaged, its entries are not as many as were finished: build it anew")
    return contents


def _read(line: str, kind: type[Line], where: str) -> Line:
    try:
        tree: Any = json.loads(line)
        return kind.model_validate(tree)
    except ValidationError as error:
        problem = first_problem(error, kind)
    except ValueError as error:
        problem = str(error)
    raise StateError(f"{where} is no store as build-store writes it, or damaged: {problem}")
