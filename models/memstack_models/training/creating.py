"""What trains, from a configuration: the corpus read, the model, its streams."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from torch import Tensor

from memstack import Split
from memstack_models.data.load import tokenized
from memstack_models.data.tokenized import Tick, TokenizedCorpus, short_documents, untold
from memstack_models.data.tokenizer import Tokenizer
from memstack_models.training.config import RunConfig
from memstack_models.training.ranks import ALONE, Ranks
from memstack_models.training.trainer import Trainer, check_run

Preparing = Callable[[Split], AbstractContextManager[Tick]]
"""Gives, while the documents of a split are tokenised, what is told how far that is."""


def new_trainer(
    run: RunConfig,
    folder: Path,
    tokenizer: Tokenizer,
    tell: Callable[[str], None] = lambda line: None,
    preparing: Preparing = lambda split: nullcontext(untold),
    ranks: Ranks = ALONE,
) -> Trainer:
    """Read the corpus and build what trains on it; ``tell`` is told what whoever trains should know."""

    def read() -> tuple[TokenizedCorpus, list[Tensor]]:
        with preparing("train") as tick:
            corpus = tokenized(run.data, "train", tokenizer, tick=tick)
        for line in notices(corpus, run):
            tell(line)
        if not run.train.validate_every:
            return corpus, []
        limits = run.train.validate_tokens, run.eval.documents
        with preparing("validation") as tick:
            return corpus, tokenized(run.data, "validation", tokenizer, *limits, tick).documents

    # Reading may take minutes, and this is known now.
    ranks.together(lambda: check_run(run, tokenizer.vocab_size, run.memory, ranks))
    corpus, held_out = ranks.after_first(read)
    made_of = tokenizer.vocab_size, corpus.documents, held_out, tokenizer.token_bytes
    return Trainer(run, folder, *made_of, ranks=ranks)


def notices(corpus: TokenizedCorpus, run: RunConfig) -> Iterator[str]:
    """Yield lines that whoever trains or evaluates on these documents should know."""
    yield from filter(None, (corpus.notice, short_documents(corpus, run.train.segment)))
