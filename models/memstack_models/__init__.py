"""A Memorizing Transformer (arXiv 2203.08913) that never knows which memory backend it calls."""

from collections.abc import Sequence

import memstack
from memstack_models.cli.specs import COMMANDS
from memstack_models.data.corpora.specs import CORPORA


@memstack.hookimpl
def memstack_commands() -> Sequence[memstack.CommandSpec]:
    """Offer training, evaluation, the paper's tables and the demo as commands."""
    return COMMANDS


@memstack.hookimpl
def memstack_corpora() -> Sequence[memstack.CorpusSpec]:
    """Offer the documents that are on every machine, those of a folder, and the paper's five corpora."""
    return CORPORA
