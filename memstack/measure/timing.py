"""Wall time of calls, measured so that it means something: warm, repeated, and with the accelerator's work done."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from memstack.wrappers.timing import wait_for

T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """How long each of several calls took."""

    seconds: tuple[float, ...]
    """One entry per call, in the order in which they were made."""

    @property
    def median_ms(self) -> float:
        """The usual call, in milliseconds: unlike the mean, it ignores a call that something else disturbed."""
        return 1e3 * statistics.median(self.seconds)

    @property
    def mean_ms(self) -> float:
        """What a call costs in the long run, in milliseconds: the rare one that trains or rebuilds counts."""
        return 1e3 * statistics.fmean(self.seconds)

    @property
    def repeats_ms(self) -> tuple[float, ...]:
        """Every call, in milliseconds, to the microsecond."""
        return tuple(round(1e3 * each, 3) for each in self.seconds)

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        """Between which half of the calls took, in milliseconds; a single call is both."""
        ordered = self.repeats_ms if len(self.seconds) > 1 else 2 * self.repeats_ms
        low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return low, high

    @property
    def worst_ms(self) -> float:
        """The slowest call, in milliseconds."""
        return 1e3 * max(self.seconds)


def time_call(
    call: Callable[[], object], *, repeats: int = 5, warm_up: int = 1, device: torch.device | str = "cpu"
) -> Timing:
    """Time a call that may be made again and again; the first ``warm_up`` calls are not counted.

    ``device`` is the one whose work must be done before a call counts as finished.
    """
    (timing,) = time_in_turns([call], repeats=repeats, warm_up=warm_up, device=device)
    return timing


def time_in_turns(
    calls: Sequence[Callable[[], object]],
    *,
    repeats: int = 5,
    warm_up: int = 1,
    device: torch.device | str = "cpu",
) -> list[Timing]:
    """Time several calls as ``time_call`` does one, in turns: what else a machine does then disturbs all of them.

    The i-th seconds of all timings were taken one after the other, so that their ratios can be believed.
    """
    for _ in range(warm_up):
        for call in calls:
            call()
    rounds = [[timed(call, device)[1] for call in calls] for _ in range(repeats)]
    return [Timing(seconds) for seconds in zip(*rounds, strict=True)]


def timed(call: Callable[[], T], device: torch.device | str = "cpu") -> tuple[T, float]:
    """Make one call; return what it returned and the seconds it took, the work of ``device`` included."""
    wait_for(device)
    start = time.perf_counter()
    result = call()
    wait_for(device)
    return result, time.perf_counter() - start
