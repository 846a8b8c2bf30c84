"""Ranks: the processes that train or evaluate together. Each reads all rows and computes some; ``ALONE`` is one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from memstack import ConfigError, CorpusError
from memstack.contract.errors import MemstackError, in_one_line

Made = TypeVar("Made")


class OtherRankError(MemstackError, RuntimeError):
    """Another rank could not do its part; the message is that rank's."""


class LostRankError(MemstackError, RuntimeError):
    """Another rank has ended, or stands still, while this one waited for it."""


@dataclass(frozen=True)
class Ranks:
    """This process's number among those of its run, which are in one group of torch.distributed if there are several.

    Whatever exchanges has to be called by all of them, in the same order.
    """

    rank: int = 0
    size: int = 1
    alike: int = 1
    """So many consecutive ranks are a group: it has the same rows, and memories between them; each group has others."""

    def grouped(self, alike: int) -> "Ranks":
        """Return these ranks in groups of so many; ConfigError if they cannot be. A single one stays alone."""
        if self.size == 1 or alike == self.alike:
            return self
        if self.size % alike:
            raise ConfigError(
                f"{self.size} ranks make no groups of memory.shards = {alike}: start a multiple of {alike} processes, "
                "or set memory.shards to a divisor of their number"
            )
        return replace(self, alike=alike)

    @property
    def group(self) -> int:
        """The number of the group that this rank is in; its own where each has rows of its own."""
        return self.rank // self.alike

    @property
    def groups(self) -> int:
        """How many groups there are: as many as ranks where each has rows of its own."""
        return self.size // self.alike

    @property
    def speaker(self) -> int:
        """The rank of this one's group that tells what all of it have computed."""
        return self.group * self.alike

    @property
    def speaks(self) -> bool:
        """True for that one."""
        return self.rank == self.speaker

    @property
    def first(self) -> bool:
        """True for the one that writes and tells."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """Which of so many rows are those of this rank's group: one more in some, if they do not divide."""
        return slice(self.group * rows // self.groups, (self.group + 1) * rows // self.groups)

    def sum(self, number: float) -> float:
        """The sum of every group's numbers, in double precision."""
        return float(self.total(torch.tensor(number, dtype=torch.float64, device="cpu")))

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of every group's tensor; on one rank it is that tensor."""
        return self._reduced(tensor if self.speaks else torch.zeros_like(tensor), "SUM")

    def most(self, number: int) -> int:
        """The largest of every rank's numbers."""
        return int(self._reduced(torch.tensor(number, dtype=torch.int64, device="cpu"), "MAX"))

    def texts(self, text: str) -> list[str]:
        """Every rank's text, in their order. Sent as bytes: nothing is pickled."""
        if self.size == 1:
            return [text]
        import torch.distributed as dist

        sent = text.encode()
        padded = torch.zeros(self.most(len(sent)), dtype=torch.uint8, device="cpu")
        padded[: len(sent)] = torch.frombuffer(bytearray(sent), dtype=torch.uint8) if sent else padded[:0]
        length = torch.tensor([len(sent)], dtype=torch.int64, device="cpu")
        lengths = [torch.zeros_like(length) for _ in range(self.size)]
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        dist.all_gather(lengths, length)
        dist.all_gather(parts, padded)
        return [bytes(part[: int(n)].tolist()).decode() for part, n in zip(parts, lengths, strict=True)]

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Every group's tensor, in their order, on the first rank; none on the others.

        They are on the CPU, and alike but for their length, the first axis.
        """
        if self.size == 1:
            return [tensor]
        import torch.distributed as dist

        tensor = tensor if self.speaks else tensor[:0]
        length = torch.tensor([len(tensor)], dtype=torch.int64, device="cpu")
        lengths = [torch.zeros_like(length) for _ in range(self.size)]
        dist.all_gather(lengths, length)
        padded = tensor.new_zeros(max(map(int, lengths)), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.zeros_like(padded) for _ in range(self.size)] if self.first else None
        dist.gather(padded, parts)
        return [part[: int(n)] for part, n in zip(parts or [], lengths, strict=False)][:: self.alike]

    def together(self, work: Callable[[], Made]) -> Made:
        """Do on every rank what may fail on some: then it raises on all, which so wait for none.

        On the first rank its own error or, as on the others, an OtherRankError that says which rank failed, and how.
        """
        try:
            made, failed = [work()], None
        except Exception as error:  # noqa: BLE001 - raised again once the others know
            made, failed = [], error
        told = self.texts("" if failed is None else in_one_line(failed) or type(failed).__name__)
        number = next((i for i, text in enumerate(told) if text), None)
        if number is None:
            return made[0]
        if failed is not None and self.first:
            raise failed
        raise OtherRankError(f"rank {number}: {told[number]}") from failed

    def after_first(self, work: Callable[[], Made]) -> Made:
        """As ``together``, the others after the first one: they find in the cache what it has made."""
        made = self.by_first(lambda: [work()])
        return self.together(lambda: work() if made is None else made[0])

    def is_ours(self, error: Exception) -> bool:
        """Whether an error that ``together`` raised on all of them is, on the rank that failed, one of memstack's."""
        own = error.__cause__ if isinstance(error, OtherRankError) else error
        return self.most(isinstance(own, MemstackError)) > 0

    def check_alike(self, what: str, own: str) -> None:
        """CorpusError unless this is the same text on every rank; ``what`` they have is said."""
        texts = self.texts(own)
        other = next((rank for rank, text in enumerate(texts) if text != texts[0]), None)
        if other is not None:
            raise (CorpusError if self.first else OtherRankError)(
                f"rank {other} has other {what} than rank 0: give every machine the same"
            )

    def by_first(self, work: Callable[[], Made]) -> Made | None:
        """Do something on the first rank, while the others wait; None on those."""
        return self.together(lambda: work() if self.first else None)

    def _reduced(self, tensor: Tensor, how: str) -> Tensor:
        if self.size == 1:
            return tensor
        import torch.distributed as dist

        reduced = tensor.detach().clone()
        dist.all_reduce(reduced, getattr(dist.ReduceOp, how))
        return reduced


ALONE = Ranks()
