"""Part: one way of trying a memory, attempt by attempt, each of which its seed and its number say all about."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from memstack.plugins.secrets import without_secrets
from memstack.testing.thorough.report import Finding, Tried
from memstack.testing.thorough.subject import Subject

MOST = 3
HANGS = "it hangs"
"""How what is said of a process that hangs begins."""
IN_VAIN = 300
"""Attempts in a row of which none counts, after which a part is given up."""
Note = Callable[[int], None]
"""Told how far an attempt is, before it goes on: whoever watches knows then where it ended or hangs."""


@dataclass(frozen=True)
class Attempt:
    """How much was tried at once, and what went wrong."""

    done: int
    counts: dict[str, int] = field(default_factory=dict[str, int])
    finding: Finding | None = None


class Part(ABC):
    """One way of trying a memory. An attempt that raises SkipTest says why the whole part cannot be tried."""

    name: ClassVar[str]
    """In a word."""
    about: ClassVar[str]
    """In a line."""
    unit: ClassVar[str]
    share: ClassVar[float]
    """Of the time, where a time is given."""
    each: ClassVar[int]
    """So many operations go with one of these, where a number is given."""
    least: ClassVar[int] = 1
    torch_threads: ClassVar[int | None] = 1
    """Small tensors need no more of torch's; None where threads are what is tried."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self.subject, self.seed = subject, seed

    @abstractmethod
    def attempt(self, number: int, note: Note) -> Attempt:
        """Make the attempt of this number."""

    def only(self, number: int, kept: list[int], note: Note) -> None:
        """Make an attempt of which only these steps are done, where it has steps."""
        self.attempt(number, note)

    def ended(self, number: int, at: int, how: str, ends: Callable[[list[int]], bool]) -> Finding:
        """Return what is said of an attempt that ended its process, or hung, at this note.

        ``ends`` tells whether the process ends again if only these steps of the attempt are done.
        """
        return Finding(how, number, self.again(number))

    def again(self, number: int) -> str:
        """Return Python that makes an attempt again."""
        kind, subject = type(self), self.subject
        imports = [f"from {kind.__module__} import {kind.__name__}", f"from {Subject.__module__} import Subject"]
        call = f"{kind.__name__}(Subject({subject.as_python}, {without_secrets(subject.given)!r}), {self.seed})"
        return "\n".join([*subject.imports, *imports, "", f"{call}.attempt({number}, print)"])


@dataclass(frozen=True)
class Budget:
    """How long, or how often, a part is tried; at least one attempt is made."""

    units: int | None
    seconds: float | None
    findings: int = MOST
    """After which a part is given up: more of the same help nobody."""


class Tally:
    """What came of a part so far."""

    def __init__(self, part: Part, budget: Budget) -> None:
        self.part, self.budget, self.begun = part, budget, time.monotonic()
        self.next = self.done = 0
        self.counts: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.not_run = ""
        self._in_vain = 0

    @property
    def over(self) -> bool:
        """Whether enough was tried."""
        left = self.left
        spent = (left.units is not None and left.units <= 0) or (left.seconds is not None and left.seconds <= 0)
        return bool(self.not_run) or len(self.findings) >= self.budget.findings or (spent and self.next > 0)

    @property
    def left(self) -> Budget:
        """What is left of the budget."""
        units, seconds = self.budget.units, self.budget.seconds
        return Budget(
            None if units is None else units - self.done,
            None if seconds is None else seconds - (time.monotonic() - self.begun),
            self.budget.findings - len(self.findings),
        )

    def take(self, number: int, attempt: Attempt) -> None:
        """Take in what came of an attempt."""
        self.next = number + 1
        self.done += attempt.done
        self.counts.update(attempt.counts)
        self._in_vain = 0 if attempt.done or attempt.finding else self._in_vain + 1
        if self._in_vain == IN_VAIN:
            self.not_run = f"{IN_VAIN} attempts in a row came to nothing: {dict(self.counts)}"
        if attempt.finding is not None:
            self.findings.append(attempt.finding)

    def tried(self) -> Tried:
        """Return all that came of it."""
        part, seconds = self.part, time.monotonic() - self.begun
        findings = tuple(self.findings)
        return Tried(part.name, part.about, part.unit, self.done, dict(self.counts), findings, seconds, self.not_run)
