"""From a ``[data]`` section to tokens: documents and their tokeniser."""

from dataclasses import replace

from memstack import ConfigError, Split
from memstack_models.data.config import DataConfig
from memstack_models.data.documents import SplitDocuments, corpus_of
from memstack_models.data.tokenized import Tick, TokenizedCorpus, tokenize, untold
from memstack_models.data.tokenizer import Tokenizer, train_tokenizer


def tokenizer_for(data: DataConfig) -> Tokenizer:
    """Train the configured tokeniser on the train split, or take it from the cache."""
    documents = SplitDocuments(corpus_of(data), "train")
    return train_tokenizer(data.tokenizer, data.vocab_size, documents, documents.identity)


def tokenized(
    data: DataConfig, split: Split, tokenizer: Tokenizer, limit: int = 0, longest: int = 0, tick: Tick = untold
) -> TokenizedCorpus:
    """Return the documents of a split as tokens, each begun by the document token.

    At most ``limit`` tokens of each, and only the ``longest`` so many documents; 0 is all. ``tick`` is told how many
    documents and tokens have been prepared, if they are not in the cache. ConfigError for a limit of 1, which leaves
    the document token alone.
    """
    if limit == 1:
        raise ConfigError(
            "of 1 token of a document nothing is predicted, for each begins with the document token: "
            "eval.tokens and train.validate_tokens should be 2 or more, or eval.tokens 0 for all; got 1"
        )
    documents = SplitDocuments(corpus_of(data), split)
    corpus = tokenize(documents, tokenizer, limit or None, longest, documents.identity, tick)
    return replace(corpus, notice=documents.corpus.notice())
