"""Letters: entries that a memory holds and its store has not acknowledged yet."""

from collections.abc import Iterator

import numpy as np

from memstack.contract.errors import MemstackError, UnreachableError
from memstack.store.remote.protocol import Points, RemoteStore, Sending
from memstack.store.remote.windows import BITS

MOST_POINTS = 4096
"""Of one letter: some 2 MB, and a deadline of some seconds."""


class Letter:
    """Points on their way. They may be sent any number of times, so whatever is unsure is sent again."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.memories = frozenset((points.ids >> BITS).tolist())
        """Numbers of the (row, head)s that they are of."""
        self._sending: Sending | None = None

    def __len__(self) -> int:
        return len(self.points.ids)

    def begin(self, store: RemoteStore, seconds: float) -> None:
        """Have it sent, unless it is under way; what goes wrong is said when it is waited for."""
        if self._sending is None:
            try:
                self._sending = store.send(self.points, seconds)
            except MemstackError as error:
                self._sending = _Failed(error)

    def arrived(self) -> bool:
        """Whether it is known to have arrived, without waiting; it is to begin again if it was lost."""
        if self._sending is None or not self._sending.done():
            return False
        sending, self._sending = self._sending, None
        try:
            sending.result()
        except UnreachableError:
            return False
        return True

    def arrive(self, store: RemoteStore, seconds: float) -> None:
        """Wait until it has arrived; UnreachableError if it was lost, and is to be sent again."""
        sending, self._sending = self._sending or store.send(self.points, seconds), None
        sending.result()


class _Failed:
    def __init__(self, error: MemstackError) -> None:
        self._error = error

    def done(self) -> bool:
        return True

    def result(self) -> None:
        raise self._error


def letters(points: Points) -> Iterator[Letter]:
    """Cut points into letters, in their order."""
    for begin in range(0, len(points.ids), MOST_POINTS):
        yield Letter(Points(*(part[begin : begin + MOST_POINTS] for part in points)))


def joined(parts: list[Points], key_dim: int, value_dim: int) -> Points:
    """Put points together; a copy, also of one part."""
    nothing = Points(np.empty(0, np.int64), np.empty((0, key_dim), np.float32), np.empty((0, value_dim), np.float32))
    return Points(*(np.concatenate(each) for each in zip(*(parts or [nothing]), strict=True)))
