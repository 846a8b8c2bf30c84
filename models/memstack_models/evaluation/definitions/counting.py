"""DefinitionCounter: of each use, which heads retrieved the definition, and what chance would have."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import comb, prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from memstack_models.evaluation.definitions.uses import Mentions, Span, Use
from memstack_models.evaluation.retrievals import Reading

SOUGHT = ("name", "statement", "mention")
"""What is looked for among the found: the name where it is defined, the statement that defines it, the name anywhere
before."""
WHEN = ("before", "within")
"""By whom: by the token before the name, which predicts its first when nothing of it is known; or by any of the name's
own tokens."""


@dataclass(frozen=True)
class Reach:
    """How far a model sees."""

    segment: int
    local: int
    """Tokens that the local context holds at most: a definition within them is not counted."""
    capacity: int
    neighbours: int

    def stored(self, place: int) -> range:
        """Return the places of the tokens that the memory holds when a token is read, oldest first."""
        end = place - place % self.segment
        return range(max(0, end - self.capacity), end)


class PlacedUse(NamedTuple):
    """A use in tokens of its document."""

    asking: dict[str, range]
    """By ``WHEN``: the tokens whose retrievals count."""
    sought: dict[str, tuple[range, ...]]
    """By ``SOUGHT``: places of tokens."""


class Counts(NamedTuple):
    """What became of the uses of one document, all together."""

    uses: int
    hits: Float[np.ndarray, "sought when heads"]
    """Uses that each head retrieved it for; heads of all memory layers, layer by layer."""
    any_head: Float[np.ndarray, "sought when"]
    random: Float[np.ndarray, "sought when"]
    """Expected of as many entries drawn without replacement from the memory, in place of one head's."""
    random_any: Float[np.ndarray, "sought when"]
    """The same, for all heads together."""
    recent: Float[np.ndarray, "sought when"]
    """Of the entries that were stored last, as many as a head finds."""


@dataclass
class DefinitionCounter:
    """The uses of one document, and what is retrieved for them while it is read."""

    uses: list[PlacedUse]
    reach: Reach
    near: int
    """Uses whose definition is still in the local context, and which are not counted."""
    gone: int
    """Uses whose definition has left the memory, and which are not counted."""
    _wanted: list[int] = field(init=False)
    _found: dict[int, np.ndarray] = field(default_factory=dict[int, np.ndarray])

    def __post_init__(self) -> None:
        self._wanted = sorted({place for use in self.uses for asking in use.asking.values() for place in asking})

    def take(self, reading: Reading) -> None:
        """Keep what was retrieved by the tokens that are asked about."""
        end = reading.first + reading.tokens
        for place in self._wanted[bisect_left(self._wanted, reading.first) : bisect_left(self._wanted, end)]:
            found = reading.positions[:, :, place - reading.first]
            self._found[place] = found.flatten(0, 1).numpy().astype(np.int32)

    def counts(self) -> Counts:
        """Return what came of it, once the document has been read."""
        shape = len(SOUGHT), len(WHEN)
        heads = len(next(iter(self._found.values()))) if self._found else 0
        totals = [np.zeros((*shape, heads)), *(np.zeros(shape) for _ in range(4))]
        for use in self.uses:
            for i, sought in enumerate(SOUGHT):
                for j, when in enumerate(WHEN):
                    for total, got in zip(totals, self._of(use.sought[sought], use.asking[when]), strict=True):
                        total[i, j] += got
        return Counts(len(self.uses), *totals)

    def _of(
        self, sought: Sequence[range], asking: range
    ) -> tuple[Bool[np.ndarray, " heads"], bool, float, float, bool]:
        """Which heads, whether any, what chance would have of one and of all, and whether the latest would do."""
        hits = np.any([self._hits(place, sought) for place in asking], axis=0)
        missed = prod(_missed_at_random(self.reach.stored(place), sought, self.reach.neighbours) for place in asking)
        last = [self.reach.stored(place)[-self.reach.neighbours :] for place in asking]
        recent = any(_shared(stored, sought) for stored in last)
        return hits, bool(hits.any()), 1 - missed, 1 - missed ** len(hits), recent

    def _hits(self, place: int, sought: Sequence[range]) -> Bool[np.ndarray, " heads"]:
        found = self._found[place]
        within = [(found >= each.start) & (found < each.stop) for each in sought]
        return np.any(within, axis=(0, 2)) if within else np.zeros(len(found), dtype=bool)


def counter(text: str, uses: Iterable[Use], ends: Sequence[int], reach: Reach) -> DefinitionCounter:
    """Return the counter of a document, whose token ``i`` ends after ``ends[i]`` bytes of its text.

    Counted is a use that the tokens contain, if its definition lies further back than any local context, and if the
    memory still holds the definition's name when the use is read.
    """
    # The last token is only predicted, never read.
    uses = [use for use in uses if len(ends) > 1 and use.name.end <= ends[-2]]
    mentions = Mentions(text, {use.text for use in uses})
    placed: list[PlacedUse] = []
    near = gone = 0
    for use in uses:
        name, defined = _tokens(use.name, ends), _tokens(use.definition.name, ends)
        if name.start - defined.stop < reach.local:
            near += 1
        elif defined.start < reach.stored(name.stop - 1).start:
            gone += 1
        else:
            before = mentions.before(use.text, use.name.start)
            far = [span for span in (_tokens(each, ends) for each in before) if name.start - span.stop >= reach.local]
            sought = {"name": (defined,), "statement": (_tokens(use.definition.statement, ends),), "mention": (*far,)}
            asking = {"before": range(name.start - 1, name.start), "within": name}
            placed.append(PlacedUse(asking, sought))
    return DefinitionCounter(placed, reach, near, gone)


def _tokens(span: Span, ends: Sequence[int]) -> range:
    """The tokens that have a part of it."""
    return range(bisect_right(ends, span.start), bisect_left(ends, span.end) + 1)


def _shared(stored: range, sought: Sequence[range]) -> int:
    """How many of the stored are sought; what is sought does not overlap."""
    return sum(max(0, min(stored.stop, each.stop) - max(stored.start, each.start)) for each in sought)


def _missed_at_random(stored: range, sought: Sequence[range], drawn: int) -> float:
    """The chance that so many entries, drawn without replacement, are all others."""
    wanted, drawn = _shared(stored, sought), min(drawn, len(stored))
    return comb(len(stored) - wanted, drawn) / comb(len(stored), drawn)
