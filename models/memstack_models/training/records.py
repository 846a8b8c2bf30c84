"""What training and evaluation write down: what was read, and the lines of a run's log."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import NonNegativeInt

from memstack.contract.errors import RecordError
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record


class Perplexity(Frozen):
    """What a model made of the documents it read."""

    perplexity: float
    """Per token."""
    perplexity_beyond_4k: float | None = None
    """Of the tokens beyond the first 4,096 of their documents, if any are."""
    bits_per_byte: float
    tokens: NonNegativeInt
    by_position: dict[str, float]
    """Perplexity of each stretch of the documents, as ``1k-4k``."""


class Recall(Frozen):
    """Means of what the probes of a memory measured; None where nothing was probed."""

    recall: float | None = None
    attention_mass_recall: float | None = None
    age: float | None = None
    """How many entries ago what was found had been added."""


class StepEntry(Record, Recall):
    """A logged step of a training run."""

    kind: Literal["step"] = "step"
    step: int
    loss: float
    rate: float
    """The learning rate."""
    tokens_per_s: int
    memory_share: tuple[tuple[float, ...], ...]
    """How much of the attention of each memory layer's heads lay on the memory."""
    search_ms: float
    """Of all memories together, since the entry before."""
    add_ms: float
    age_by_layer: dict[str, float] | None = None
    """How many entries ago what each memory layer found had been added, on average; None in entries of earlier runs."""


class ValidationEntry(Record):
    """A logged validation: the same documents without the memory and with it."""

    kind: Literal["validation"] = "validation"
    step: int
    without: Perplexity
    with_memory: Perplexity | None = None
    """None if no layer has a memory."""
    gain: float | None = None
    """The part of the perplexity that the memory saves."""
    gain_appears: bool = False
    """True in the first validation of a run whose gain is worth mentioning."""


LogEntry = StepEntry | ValidationEntry
KINDS: Sequence[type[LogEntry]] = (StepEntry, ValidationEntry)
RENAMED = {
    "tokens/s": "tokens_per_s",
    "memory share": "memory_share",
    "search ms": "search_ms",
    "add ms": "add_ms",
    "attention-mass recall": "attention_mass_recall",
    "with memory": "with_memory",
    "gain appears": "gain_appears",
    "perplexity beyond 4k": "perplexity_beyond_4k",
    "bits per byte": "bits_per_byte",
    "by position": "by_position",
}
"""Keys of the first logs, which had no version."""


def log_entry(tree: Mapping[str, Any], origin: str) -> LogEntry:
    """Read a line of a log, also one from before lines had a version; ``origin`` says in errors where it is."""
    if "version" not in tree:
        kind = ValidationEntry if "without" in tree else StepEntry
        first = {"kind": kind.model_fields["kind"].default, "version": 1}
        return kind.of(first | _renamed(tree), origin)
    for kind in KINDS:
        if tree.get("kind") == kind.model_fields["kind"].default:
            return kind.of(tree, origin)
    raise RecordError(f"{origin} is of kind {tree.get('kind')!r}, not a step or a validation: install a newer memstack")


def _renamed(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        RENAMED.get(key, key): _renamed(value) if isinstance(value, Mapping) else value for key, value in tree.items()
    }


def strict_json(text: str | bytes) -> Any:
    """Read JSON; ValueError for whatever is none, and for keys given twice, nesting too deep and numbers too long."""
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError("it has a key twice")
    return tree
