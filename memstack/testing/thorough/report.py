"""What a thorough check tried, how often, and what came of it."""

import textwrap
from dataclasses import dataclass, field

from memstack.contract.errors import in_one_line


@dataclass(frozen=True)
class Finding:
    """One thing that went wrong, and how to see it again."""

    what: str
    """What differed, in one line."""
    attempt: int
    """The number of the attempt: with the seed it says all."""
    again: str
    """Python that does it again: the shortest history that was found."""


@dataclass(frozen=True)
class Tried:
    """One way of trying a memory: how often, and what came of it."""

    name: str
    """In a word, such as ``operations``."""
    about: str
    """In a line, such as ``random operations beside plain lists``."""
    unit: str
    """What is counted, such as ``operations``."""
    done: int
    """How many of them."""
    counts: dict[str, int]
    """What they were, by kind; kinds may come in others' company, so that this need not add up."""
    findings: tuple[Finding, ...]
    seconds: float
    not_run: str = ""
    """Why nothing was tried; empty if it was."""

    @property
    def outcome(self) -> str:
        """``pass``, ``fail``, or ``not run``."""
        return "not run" if self.not_run else "fail" if self.findings else "pass"


@dataclass(frozen=True)
class ThoroughReport:
    """All that was tried, in order; ``str`` of it is for people."""

    subject: str
    seed: int
    tried: tuple[Tried, ...] = field(default_factory=tuple[Tried, ...])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that went wrong."""
        return tuple(finding for each in self.tried for finding in each.findings)

    @property
    def passed(self) -> bool:
        """True if nothing went wrong."""
        return not self.findings

    def __str__(self) -> str:
        return "\n".join([f"{self.subject}, seed {self.seed}", *map(_line, self.tried), *map(told, self.findings)])


def told(finding: Finding) -> str:
    """Return a finding as text: what it is, then the Python that shows it."""
    return f"attempt {finding.attempt}: {finding.what}\n{finding.again}"


def _line(tried: Tried) -> str:
    return (
        f"{tried.outcome:8}{tried.seconds:8.1f} s  {tried.done:,} {tried.unit}  {tried.about} {tried.not_run}".rstrip()
    )


def said(error: BaseException) -> str:
    """Return what an error says, in one line; an assertion's class says nothing."""
    line = textwrap.shorten(str(error), 300)
    return line if isinstance(error, AssertionError) and line else in_one_line(error)
