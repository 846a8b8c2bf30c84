"""Trying again: what a store does not do at once it may do later, and a call has to end all the same."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from memstack.contract.errors import MemoryUnavailableError, UnreachableError

Answer = TypeVar("Answer")
PER_ENTRY, PER_QUERY = 0.002, 0.02
"""Seconds that a call may take longer for each entry and query: twenty times what they take of a store at rest."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two tries, on average; each pause is twice the one before."""
LEAST = 0.05
"""Seconds below which a try is not worth beginning."""
_JITTER = random.Random()
"""Of its own: nobody's seed is used up by a store that fails."""


@dataclass(frozen=True)
class Insistence:
    """How long is waited for a store, and how long for one of its answers."""

    timeout: float
    """Seconds for one call, whatever it asks; those for its entries and queries come on top."""
    patience: float
    """Seconds that a store may fail before that is an error."""

    def deadline(self, entries: int = 0, queries: int = 0) -> float:
        """Return the seconds that a call with so many entries and queries may take."""
        return self.timeout + PER_ENTRY * entries + PER_QUERY * queries

    def insist(self, attempt: Callable[[float], Answer], seconds: float, unsent: Callable[[], int]) -> Answer:
        """Attempt something, which is given at most so many seconds, until it goes well.

        Ends within ``patience``, or the deadline of one attempt if that is longer.

        Raises:
            MemoryUnavailableError: The store could not be reached for so long. It says how many entries are unsent.
        """
        until = time.monotonic() + max(self.patience, seconds)
        pause, tries = FIRST_PAUSE, 0
        while True:
            tries += 1
            try:
                return attempt(min(seconds, max(until - time.monotonic(), LEAST)))
            except UnreachableError as error:
                wait = pause * _JITTER.uniform(0.5, 1.5)  # so that many clients do not come back at the same moment
                if time.monotonic() + wait + LEAST > until:
                    raise self._given_up(tries, max(self.patience, seconds), unsent(), error) from error
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _given_up(self, tries: int, seconds: float, unsent: int, error: Exception) -> MemoryUnavailableError:
        return MemoryUnavailableError(
            f"{error}; it was tried {tries} times in {seconds:.3g} s, and {unsent:,} entries are unsent and kept: have "
            "the store started again and go on, or raise memory.options.patience"
        )
