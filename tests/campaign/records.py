"""What a check of the campaign writes down: what was tried, how often, with which seed, and what came of it."""

from typing import Literal

from pydantic import Field

from memstack.plugins.config import Frozen
from memstack.plugins.records import Record


class Finding(Frozen):
    """Something that should not have happened."""

    what: str
    """One line."""
    case: str
    """What was tried, as far as one line can tell."""
    repeat: str
    """The command that tries it again."""


class CheckRecord(Record):
    """One check of the campaign."""

    kind: Literal["campaign"] = "campaign"
    part: str
    check: str
    title: str
    size: Literal["short", "long"]
    seed: int
    tried: int
    unit: str
    """What was counted, such as ``kills``."""
    outcomes: dict[str, int]
    """How often which end was seen; those that are no fault, too."""
    findings: tuple[Finding, ...] = ()
    """The first of each kind, at most ``KEPT`` of a check; ``faults`` counts all."""
    faults: int = 0
    figures: dict[str, str] = Field(default_factory=dict[str, str])
    """What was measured besides, as text with its unit."""
    skipped: dict[str, int] = Field(default_factory=dict[str, int])
    """Why how many cases could not be tried here."""
    seconds: float
    date: str
    commit: str
    machine: str

    @property
    def name(self) -> str:
        """Return part and check, as the command takes them."""
        return f"{self.part}/{self.check}"
