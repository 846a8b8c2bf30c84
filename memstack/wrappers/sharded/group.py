"""ShardGroup: the ranks that one memory lies on, what they exchange, and how the loss of one of them is told."""

import functools
import os
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from memstack.contract.errors import CopyError, ForkError, ShardError, in_one_line


class ShardGroup:
    """A process group of its own, with its own time limit: all of its ranks make the same calls in the same order.

    Numbers travel as bytes, through gloo, from the memory of the machine. A rank that is gone is an error at once on
    all others, one that stands still is one once the limit is over; then the group is of no further use.
    """

    def __init__(self, ranks: tuple[int, ...], limit: float) -> None:
        import torch.distributed as dist  # only where there are several ranks

        self.ranks, self.limit, self.size = ranks, limit, len(ranks)
        self._turn = RLock()
        self.numbers = count()
        """Of the memories that lie on these ranks."""
        self._process, self._lost = os.getpid(), ""
        # Newer versions warn of the older name.
        names = ("all_gather_single", "all_gather_into_tensor")
        self._gather: Any = next(getattr(dist, name) for name in names if hasattr(dist, name))
        self._trade: Any = dist.all_to_all_single
        self._group: Any = dist.new_group(
            list(ranks), timedelta(seconds=limit), backend="gloo", use_local_synchronization=True
        )
        self.rank: int = dist.get_rank(self._group)

    def __str__(self) -> str:
        return f"the group of ranks {', '.join(map(str, self.ranks))}"

    def __enter__(self) -> None:
        """Begin a call: until its end no other thread's exchanges come between its own."""
        self.check_usable()
        self._turn.acquire()

    def __exit__(self, *_: object) -> None:
        self._turn.release()

    def __deepcopy__(self, _: object) -> "ShardGroup":
        return self  # copies of a memory lie on the same ranks

    def __reduce__(self) -> Any:
        raise CopyError(
            "a memory that lies on several ranks cannot be pickled: save its state_dict(), and load that into a memory "
            "that every rank makes"
        )

    def gather(self, mine: Tensor) -> Tensor:
        """Return what every rank gives, (size, *axes): tensors of the same shape and dtype."""
        given = as_bytes(mine)
        into = torch.empty(self.size * given.numel(), dtype=torch.uint8, device="cpu")
        self._exchange(lambda: self._gather(into, given, group=self._group), given)
        return into.view(mine.dtype).view(self.size, *mine.shape)

    def trade(self, parts: Tensor) -> Tensor:
        """Give part i of (size, *axes) to rank i; return what rank i gave, as part i."""
        given = as_bytes(parts)
        into = torch.empty_like(given)
        self._exchange(lambda: self._trade(into, given, group=self._group), given)
        return into.view(parts.dtype).view(parts.shape)

    def check_usable(self) -> None:
        """Raise ForkError in a process that was forked from the group's own, ShardError once a rank was lost."""
        if os.getpid() != self._process:
            raise ForkError(f"{self} does not reach into a forked process: make the memory there, or load its state")
        if self._lost:
            raise ShardError(self._lost)

    def _exchange(self, work: Callable[[], Any], given: Tensor) -> None:
        """Exchange what is given, where that is anything; what cuts it off leaves the ranks out of step."""
        self.check_usable()
        if not given.numel():
            return
        self._lost = f"an exchange of {self} was interrupted: start all ranks again, from the last saved state"
        try:
            work()
        except RuntimeError as error:
            self._lost = (
                f"{self} has lost a rank, or waited for one beyond its limit of {self.limit:g} s "
                f"({in_one_line(error)}): start all ranks again, from the last saved state"
            )
            raise ShardError(self._lost) from error
        self._lost = ""


def group_of(shards: int, limit: float) -> ShardGroup:
    """Return the group of this rank, of so many consecutive ranks; ShardError where the ranks do not make such groups.

    One that is there already, of the same limit, is used again: memories of one process are asked one after the other.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        raise ShardError(
            f"memory.shards={shards} needs as many processes: start them with torchrun --nproc-per-node {shards} "
            "-m memstack ..., or, in a program of your own, with torch.distributed.init_process_group('gloo') in each"
        )
    ranks, rank = dist.get_world_size(), dist.get_rank()
    if ranks % shards:
        raise ShardError(f"memory.shards should divide the number of ranks, got {shards} for {ranks} ranks")
    first = rank - rank % shards
    return _made(tuple(range(first, first + shards)), limit, dist.group.WORLD)


def as_bytes(tensor: Tensor) -> Tensor:
    """Return the numbers of a tensor as bytes on the CPU."""
    return tensor.detach().to("cpu").contiguous().view(-1).view(torch.uint8)


@functools.lru_cache(maxsize=64)
def _made(ranks: tuple[int, ...], limit: float, _world: object) -> ShardGroup:
    """The world is among the arguments for its identity: ranks that were started anew make other groups."""
    return ShardGroup(ranks, limit)
