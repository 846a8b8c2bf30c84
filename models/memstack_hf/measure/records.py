"""What ``memstack hf-eval`` writes down."""

from typing import Literal

from pydantic import Field

from memstack.plugins.config import Frozen
from memstack.plugins.records import Record


class Reading(Frozen):
    """What one way of reading came to."""

    way: str
    perplexity: float | None
    """Per token beyond ``beyond``: the geometric mean over documents; None where no document was read this way."""
    by_document: dict[str, float]
    by_position: dict[str, float]
    """Of all documents' tokens, by the positions they stand at."""
    tokens_per_second: float
    cpu_seconds: float
    held_bytes: int
    """What keys and values of past tokens take at the end of a document, remembered ones included; the most of all."""
    note: str = ""


class Found(Frozen):
    """How often a passkey was given back, word for word, by the way of reading and the length of the text."""

    way: str
    tokens: int
    trials: int
    right: int
    nats: float
    """Per token of the answer: the mean."""


class HfEval(Record):
    """A model of transformers, read in several ways."""

    kind: Literal["hf-eval"] = "hf-eval"
    model: str
    dtype: str
    tokens: int
    beyond: int
    far_layers: tuple[int, ...] | None = None
    """Layers that go on beyond the native context, if they were named or calibrated."""
    readings: tuple[Reading, ...] = ()
    passkeys: tuple[Found, ...] = Field(default=())
