"""Use: a name where it is used, and where the text defined it; places are bytes of UTF-8."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """Bytes of a text, from ``start`` to before ``end``."""

    start: int
    end: int


class Definition(NamedTuple):
    """A statement that gives a name its meaning."""

    name: Span
    """The name, in the statement."""
    statement: Span
    """All that it says: of a function its head, of a lemma what it states, without the proof."""


class Use(NamedTuple):
    """A name that is used further on than it was defined."""

    name: Span
    definition: Definition
    text: str


FindUses = Callable[[str], list[Use]]
"""Finds the uses in a text, in order; ValueError if the text is none of its language."""


class Mentions:
    """Where a text has its names, whatever they stand for there."""

    def __init__(self, text: str, names: Iterable[str]) -> None:
        self._places: dict[str, list[int]] = {name: [] for name in names}
        content = text.encode()
        for word in re.finditer(rb"[A-Za-z_][\w']*", content):
            places = self._places.get(word[0].decode())
            if places is not None:
                places.append(word.start())

    def before(self, name: str, end: int) -> list[Span]:
        """Return where the name stands before a place."""
        places = self._places[name]
        return [Span(start, start + len(name.encode())) for start in places[: bisect_right(places, end - 1)]]
