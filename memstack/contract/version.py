"""Version: how often a memory has changed, so that an answer from before can be told from one of now."""

from collections.abc import Callable

from memstack.contract.errors import StaleResultError


class Version:
    """Counts the changes of a memory; what an answer reads its entries through is given a ``guard()``."""

    def __init__(self) -> None:
        self._changes = 0

    def bump(self) -> None:
        """Count a change: every answer given before is stale from now on."""
        self._changes += 1

    def guard(self) -> Callable[[], None]:
        """Return a function that raises StaleResultError once the memory has changed after this call."""
        then = self._changes

        def check_fresh() -> None:
            if self._changes != then:
                raise StaleResultError(
                    "the memory has changed since this search; use a result before the next add or reset: the order of "
                    "a step is search, backward, add"
                )

        return check_fresh
