"""over_ranks(): a command that torchrun has started several times; the first process tells, the others are silent."""

import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager

import typer

from memstack import ConfigError, MemstackError
from memstack.cli.console import ERR, OUT
from memstack_models.training.joining import joined, started
from memstack_models.training.ranks import LostRankError, OtherRankError, Ranks

USERS_MISTAKE, A_MOMENT = 2, 1.0
LOST = re.compile("gloo|nccl|closed by peer|reset by peer|timed out", re.IGNORECASE)
"""What torch.distributed says, which has no class of error for it."""


def one_process(command: str) -> None:
    """ConfigError, told by one of them, if several processes were started of a command that is for one."""
    if (several := started()) == 1:
        return
    if int(os.environ.get("RANK", "0")):
        time.sleep(A_MOMENT)
        raise typer.Exit(USERS_MISTAKE)
    raise ConfigError(f"memstack {command} is for one process, and {several} were started: start it without torchrun")


@contextmanager
def over_ranks() -> Generator[Ranks, None, None]:
    """The ranks that this process is one of; what another has told is told once."""
    with joined() as ranks:
        quiet = OUT.quiet, ERR.quiet
        OUT.quiet, ERR.quiet = (each or not ranks.first for each in quiet)
        try:
            yield ranks
        except OtherRankError:
            if ranks.first:
                raise
            time.sleep(A_MOMENT)  # once one process has ended torchrun ends the others: the first one tells before
            raise typer.Exit(USERS_MISTAKE) from None
        except MemstackError:
            OUT.quiet, ERR.quiet = quiet
            raise
        except RuntimeError as error:
            if ranks.size == 1 or not LOST.search(str(error)):
                raise
            OUT.quiet, ERR.quiet = quiet
            raise LostRankError(
                f"another rank has ended or stands still ({str(error).partition(chr(10))[0][:200]}): start all again "
                "with --resume, as torchrun --max-restarts does by itself"
            ) from error
