"""joined(): this process among those that torchrun has started for one run; alone where nobody has."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from memstack_models.training.ranks import ALONE, Ranks


@contextmanager
def joined() -> Generator[Ranks, None, None]:
    """Join the group of all processes, gloo between CPUs and NCCL between GPUs, and leave it at the end.

    What is sent from the CPU goes by gloo on every machine. Each process takes the GPU of its number on its machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "MASTER_ADDR" not in os.environ:
        yield ALONE
        return
    import torch.distributed as dist

    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group(backend)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
