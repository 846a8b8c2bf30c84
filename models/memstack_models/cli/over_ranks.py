"""over_ranks(): a command that torchrun has started several times; the first process tells, the others are silent."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import typer

from memstack import MemstackError
from memstack.cli.console import ERR, OUT
from memstack_models.training.joining import joined
from memstack_models.training.ranks import OtherRankError, Ranks

USERS_MISTAKE, A_MOMENT = 2, 1.0


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
