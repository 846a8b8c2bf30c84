"""Plan: how much a report measures, and of which backends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from memstack import CorpusError
from memstack.measure import BASELINES
from memstack.measure.sweep import installed, settings
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    entries: int
    """Of the memories of which every setting is measured."""
    sizes: tuple[int, ...]
    """Entries at which search and add are timed, rising."""
    step_sizes: tuple[int, ...]
    """Entries at which whole training steps are timed, rising."""
    documents: int
    """Read for the perplexity, so many tokens of each."""
    tokens: int
    capacity: int
    """Entries per memory then."""
    stride: int = 1
    """Every how many settings of a search space are tried."""
    repeats: int = 5
    limit_s: float = 60.0
    """How long a memory may take to fill, and to turn over, before it is given up on: of a machine at rest."""
    backends: tuple[str, ...] = ()
    """Names of those that are measured beside exact search; none stands for all that are installed."""

    @property
    def recorded(self) -> int:
        """The most entries that a memory holds."""
        return max(self.entries, *self.sizes, *self.step_sizes)

    def specs(self) -> list[BackendSpec]:
        """The backends to measure, the exact one first: it is what the others are measured against."""
        anchor, *others = installed()
        return [anchor, *(spec for spec in others if not self.backends or spec.name in self.backends)]

    def within(self, entries: int) -> "Plan":
        """The plan without the sizes for which there is too little text: no memory holds more entries than this."""
        sizes, steps = (tuple(size for size in each if size <= entries) for each in (self.sizes, self.step_sizes))
        least = self.sizes[0]
        if not (sizes and steps):
            raise CorpusError(f"the text is too short to fill a memory of {least:,} entries: evaluate on more")
        return replace(self, entries=min(self.entries, sizes[-1]), sizes=sizes, step_sizes=steps)

    def only(self, backends: Sequence[str]) -> "Plan":
        """The plan for some backends alone; refused if one is not registered, or not installed."""
        for name in backends:
            registry().backend_class(name)
        return replace(self, backends=tuple(dict.fromkeys(backends)))

    @property
    def overrides(self) -> list[str]:
        """What the evaluation reads, as settings of a run."""
        return [f"eval.documents={self.documents}", f"eval.tokens={self.tokens}", f"eval.rows={self.documents}"]

    @property
    def expected(self) -> int:
        """How many measurements there will be, about: it takes one or two to reach the target at most sizes."""
        specs = self.specs()
        tried = sum(len(settings(spec, self.stride)) for spec in specs)
        others = len(specs) * (len(self.sizes) + len(self.step_sizes)) + sum(not spec.exact for spec in specs)
        return 2 * tried + others + len(BASELINES) + 2


QUICK = Plan(
    entries=4096,
    sizes=(1024, 4096, 16384),
    step_sizes=(1024, 4096),
    documents=1,
    tokens=3072,
    capacity=4096,
    stride=3,
    limit_s=8.0,
)
FULL = Plan(
    entries=65536,
    sizes=(1024, 4096, 16384, 65536, 262144),
    step_sizes=(1024, 4096, 16384, 65536),
    documents=2,
    tokens=8192,
    capacity=8192,
)
