"""check_thoroughly: every way of trying a memory, for a given time or number."""

import math
import random
from collections.abc import Callable, Collection, Mapping
from typing import Any

from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.plugins.registry import registry
from memstack.testing.thorough.forks import Forks
from memstack.testing.thorough.kills import Kills
from memstack.testing.thorough.lines import Lines
from memstack.testing.thorough.operations import Operations
from memstack.testing.thorough.part import MOST, Budget, Part
from memstack.testing.thorough.report import ThoroughReport
from memstack.testing.thorough.signals import Signals
from memstack.testing.thorough.subject import Subject
from memstack.testing.thorough.threads import Threads
from memstack.testing.thorough.trying import try_apart, try_here

PARTS: tuple[type[Part], ...] = (Operations, Lines, Signals, Threads, Forks, Kills)
SECONDS = 60.0
"""How long a memory is tried if nobody says how long, or how often."""
PATIENCE = 120.0


def check_thoroughly(
    backend: str | Callable[[MemoryShape], Memory],
    options: Mapping[str, Any] | None = None,
    *,
    seconds: float | None = None,
    operations: int | None = None,
    seed: int | None = None,
    only: Collection[str] | None = None,
    findings: int = MOST,
    patience: float = PATIENCE,
    tell: Callable[[str], None] = lambda _: None,
) -> ThoroughReport:
    """Try a backend, or whatever a callable makes of a shape, at random and in every way; return what came of it.

    For so many ``seconds`` in all (60 unless something is said), or until so many random ``operations`` were done, and
    interrupts, threads, forks and kills in proportion. ``seed`` repeats it. ``options`` are set in every attempt, the
    others are drawn. ``only`` names what to try: operations, lines, signals, threads, forks, kills; each is given up
    after so many ``findings``. A registered backend is tried in processes of its own: one that ends, or says nothing
    for ``patience`` seconds, is a finding. A callable, which has no options, is tried in this process. ``tell`` is told
    what comes next. An unknown or unavailable backend and unfit options raise their own errors.
    """
    if seconds is None and operations is None:
        seconds = SECONDS
    subject = Subject(backend, options or {})
    if isinstance(backend, str):
        registry().options(backend, subject.given)
    elif options:
        raise ValueError(f"a callable has no options, got {', '.join(options)}: let the callable set them")
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    tried = []
    for kind in _chosen(only):
        tell(kind.about)
        part, budget = kind(subject, seed), _budget(kind, seconds, operations, findings)
        tried.append(try_apart(part, budget, patience) if isinstance(backend, str) else try_here(part, budget))
    return ThoroughReport(subject.name, seed, tuple(tried))


def _chosen(only: Collection[str] | None) -> list[type[Part]]:
    known = [kind.name for kind in PARTS]
    if only is not None and (unknown := set(only) - set(known)):
        raise ValueError(f"nothing is tried under the name {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    return [kind for kind in PARTS if only is None or kind.name in only]


def _budget(kind: type[Part], seconds: float | None, operations: int | None, findings: int) -> Budget:
    """A part's share."""
    units = None if operations is None else max(kind.least, math.ceil(operations / kind.each))
    return Budget(units, None if seconds is None else seconds * kind.share, findings)
