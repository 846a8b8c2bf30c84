"""How often definitions are retrieved: rates over the uses of all documents, and how far they can be believed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from memstack.plugins.config import Frozen
from memstack.plugins.records import Record
from memstack_models.evaluation.definitions.counting import SOUGHT, WHEN, Counts
from memstack_models.evaluation.spread import COVERED, DRAWS, SEED


class Rate(Frozen):
    """A part of all uses."""

    rate: float
    low: float
    """Of other documents of this kind, nineteen of twenty would give at least so much and at most ``high``."""
    high: float


class Retrieved(Frozen):
    """How often something that was looked for is among the found."""

    sought: Literal["name", "statement", "mention"]
    """Tokens of the name where it is defined, of the statement that defines it, or of the name anywhere before."""
    when: Literal["before", "within"]
    """By the token before the name, which predicts its first one; or by any of the name's own."""
    best_head: Rate
    best: tuple[int, int]
    """Which one that is: layer and head, counted from 1. Chosen on the same uses."""
    mean_head: Rate
    any_head: Rate
    random: Rate
    """Expected of as many entries as one head finds, drawn from what the memory holds."""
    random_any: Rate
    """Expected of such a draw for every head."""
    recent: Rate
    """Of the entries that were stored last, as many as one head finds."""
    heads: tuple[tuple[float, ...], ...]
    """The rate of each head of each memory layer."""


class DefinitionDocument(Frozen):
    """The uses of one document."""

    name: str
    tokens: int
    uses: int
    near: int
    """Not counted, for the definition is still in the local context."""
    gone: int
    """Not counted, for the definition has left the memory."""
    unreadable: str = ""
    """Why no use could be found in it."""


class DefinitionsRecord(Record):
    """What ``memstack definitions --json`` writes."""

    kind: Literal["definitions"] = "definitions"
    checkpoint: str
    language: str
    memory: str
    """Backend and entries, ``exact/8192``."""
    neighbours: int
    local: int
    """Tokens of the local context at most."""
    documents: tuple[DefinitionDocument, ...]
    retrieved: tuple[Retrieved, ...]

    @property
    def uses(self) -> int:
        """How many uses were counted."""
        return sum(each.uses for each in self.documents)


def rates(counted: Sequence[Counts], layers: Sequence[int]) -> tuple[Retrieved, ...]:
    """Return the rates of what was counted, a document's at a time; none if there was no use."""
    counted = [each for each in counted if each.uses]
    if not counted:
        return ()
    draws = _draws(len(counted))
    uses = np.array([each.uses for each in counted])
    return tuple(_retrieved(counted, uses, draws, layers, i, j) for i in range(len(SOUGHT)) for j in range(len(WHEN)))


def _retrieved(
    counted: Sequence[Counts], uses: np.ndarray, draws: np.ndarray, layers: Sequence[int], i: int, j: int
) -> Retrieved:
    hits = np.array([each.hits[i, j] for each in counted])
    by_head = (hits.sum(0) / uses.sum()).reshape(len(layers), -1)
    layer, head = np.unravel_index(by_head.argmax(), by_head.shape)
    columns = {"best_head": hits[:, by_head.argmax()], "mean_head": hits.mean(1)}
    for name in ("any_head", "random", "random_any", "recent"):
        columns[name] = np.array([getattr(each, name)[i, j] for each in counted])
    found = {name: _rate(column, uses, draws) for name, column in columns.items()}
    return Retrieved.model_validate(
        found
        | {"sought": SOUGHT[i], "when": WHEN[j], "best": (layers[int(layer)], int(head) + 1)}
        | {"heads": tuple(tuple(round(rate, 4) for rate in heads) for heads in by_head.tolist())}
    )


def _draws(documents: int) -> np.ndarray:
    """Which documents each draw has: as many as there are, some more than once."""
    return np.random.default_rng(SEED).integers(documents, size=(DRAWS, documents))


def _rate(hits: np.ndarray, uses: np.ndarray, draws: np.ndarray) -> Rate:
    drawn = hits[draws].sum(1) / uses[draws].sum(1)
    low, high = np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return Rate(rate=float(hits.sum() / uses.sum()), low=float(low), high=float(high))
