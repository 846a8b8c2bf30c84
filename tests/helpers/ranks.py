"""Functions that run on several ranks at once, each a process of its own, joined by gloo."""

import multiprocessing
import os
import signal
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

LIMIT_S = 300.0
"""After which ranks count as hanging, and are ended."""
PRELOADED = ["torch.distributed", "memstack.testing.contract", "memstack_exact.search", "helpers.sharded"]
"""What a process that is then forked into ranks imports, once for all tests: it takes seconds."""


def on_ranks(ranks: int, work: Callable[..., Any], *arguments: Any, limit: float = LIMIT_S, lost: int = 0) -> list[Any]:
    """Return what ``work(rank, *arguments)`` returns on each rank; AssertionError if it raises on one, or hangs.

    ``work`` is a function of a module. The last ``lost`` ranks return nothing, for something happens to them.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        processes, readers = [], []
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        for rank in range(ranks):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(writer, str(meeting), rank, ranks, work, arguments))
            process.start()
            writer.close()
            processes.append(process)
            readers.append(reader)
        try:
            return [_told(rank, reader, limit) for rank, reader in enumerate(readers[: ranks - lost])]
        finally:
            for process in processes:
                process.kill()
                process.join()


def _told(rank: int, reader: "Connection[Any, Any]", limit: float) -> Any:
    if not wait([reader], limit):
        raise AssertionError(f"rank {rank} hangs: nothing came within {limit:g} s")
    try:
        failure, result = reader.recv()
    except EOFError:
        raise AssertionError(f"rank {rank} ended without a word") from None
    assert not failure, f"rank {rank}: {failure}"
    return result


def _run(writer: Any, meeting: str, rank: int, ranks: int, work: Callable[..., Any], arguments: Any) -> None:
    import torch.distributed as dist

    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=ranks)
        said = ("", work(rank, *arguments))
    except BaseException:  # noqa: BLE001 - whatever it is, the test says it
        said = (traceback.format_exc(), None)
    writer.send(said)
    writer.close()
    os._exit(0)  # groups of which a rank is lost are not left in peace
