"""over_ranks(): a command that torchrun has started several times; the first process tells, the others are silent."""

import re
import time
from collections.abc import Generator
from contextlib import contextmanager

import typer

from memstack import MemstackError
from memstack.cli.console import ERR, OUT
from memstack_models.training.joining import joined
from memstack_models.training.ranks import LostRankError, OtherRankError, Ranks

USERS_MISTAKE, A_MOMENT = 2, 1.0
LOST = re.compile("gloo|nccl|closed by peer|reset by peer|timed out", re.IGNORECASE)
"""What torch.distributed says, which has no class of error for it."""


def is_lost(error: Exception, ranks: Ranks) -> bool:
    """Whether it says that another rank has ended or stands still: then nothing more can be done together."""
    return ranks.size > 1 and isinstance(error, RuntimeError) and LOST.search(str(error)) is not None


@contextmanager
def over_ranks(mend: str = "start all again") -> Generator[Ranks, None, None]:
    """The ranks that this process is one of; what another has told is told once.

    ``mend`` is what to do once one of them is lost.
    """
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
            if not is_lost(error, ranks):
                raise
            OUT.quiet, ERR.quiet = quiet
            raise LostRankError(
                f"another rank has ended or stands still ({str(error).partition(chr(10))[0][:200]}): {mend}"
            ) from error
