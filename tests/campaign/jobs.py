"""A check and the job of running it: its random numbers, its scratch folder, and what came of each case."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from campaign.records import Finding

Size = Literal["short", "long"]
KEPT = 25
"""Findings of a check that are written down; the others are counted."""


@dataclass
class Job:
    """One run of a check."""

    name: str
    """Part and check, such as ``kill/training``."""
    size: Size
    seed: int
    count: int
    """How many cases."""
    scratch: Path
    only: int | None = None
    """The one case that is tried, if not all are."""
    plant: Callable[[], None] = lambda: None
    """Breaks memstack on purpose, in each process that is tried: a check that then finds nothing is worth nothing."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    figures: dict[str, str] = field(default_factory=dict[str, str])
    findings: list[Finding] = field(default_factory=list[Finding])
    faults: int = 0
    tried: int = 0

    def cases(self, count: int | None = None) -> Iterator[tuple[int, random.Random]]:
        """Yield the number of each case and its random numbers, which depend on nothing but the seed and the number."""
        for number in range(self.count if count is None else count):
            if self.only in (None, number):
                yield number, random.Random(f"{self.seed}/{self.name}/{number}")

    def keep(self, number: int, case: str, outcome: str, faults: Sequence[str] = ()) -> None:
        """Count a case; each fault is a finding unless it is one of a kind that is known already."""
        self.tried += 1
        self.outcomes[outcome if not faults else "fault"] += 1
        self.faults += bool(faults)
        for what in faults:
            self._find(number, case, what)

    def skip(self, reason: str, count: int = 1) -> None:
        """Count cases that cannot be tried here."""
        self.skipped[reason] += count

    def _find(self, number: int, case: str, what: str) -> None:
        repeat = f"make campaign SEED={self.seed} PART={self.name} CASE={number}"
        if len(self.findings) < KEPT and kind(what) not in {kind(each.what) for each in self.findings}:
            self.findings.append(Finding(what=what[:600], case=case[:600], repeat=repeat))


def kind(what: str) -> str:
    """What two findings of one kind have in common: their words, without numbers and what is quoted."""
    words = "".join("#" if character.isdigit() else character for character in what)
    return "'".join(words.split("'")[::2])[:160]


@dataclass(frozen=True)
class Check:
    """Something that is tried many times."""

    part: str
    name: str
    title: str
    """What is tried and what is promised, for the page."""
    unit: str
    short: int
    """Cases of the version that is part of the test suite."""
    long: int
    run: Callable[[Job], None]
    minutes: float = 2
    """What the long version takes, about: the longest begin first."""

    @property
    def full_name(self) -> str:
        """Return part and name."""
        return f"{self.part}/{self.name}"

    def count(self, size: Size) -> int:
        """Return how many cases a version has."""
        return self.short if size == "short" else self.long
