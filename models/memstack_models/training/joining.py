"""joined(): this process among those that torchrun has started for one run; alone where nobody has."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from memstack_models.training.ranks import ALONE, Ranks


def started() -> int:
    """How many processes torchrun has started of this command; 1 where nobody has."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "MASTER_ADDR" in os.environ else 1


@contextmanager
def joined() -> Generator[Ranks, None, None]:
    """Join the group of all processes, gloo between CPUs and NCCL between GPUs, and leave it at the end.

    What is sent from the CPU goes by gloo on every machine. Each process takes the GPU of its number on its machine.
    """
    if started() == 1:
        yield ALONE
        return
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    store, rank, size = next(rendezvous("env://"))
    # torchrun may keep its store when it starts all anew: what the killed ones have left there leads nowhere.
    attempt = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=size)
    try:
        yield Ranks(rank, size)
    finally:
        dist.destroy_process_group()
