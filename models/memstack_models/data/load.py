"""From a ``[data]`` section to tokens: documents and their tokeniser."""

from dataclasses import replace

from memstack import ConfigError, Split
from memstack_models.data.config import DataConfig
from memstack_models.data.documents import corpus_of, load_documents
from memstack_models.data.tokenized import TokenizedCorpus, tokenize
from memstack_models.data.tokenizer import Tokenizer, train_tokenizer


def tokenizer_for(data: DataConfig) -> Tokenizer:
    """Train the configured tokeniser on the train split, or take it from the cache."""
    return train_tokenizer(data.tokenizer, data.vocab_size, load_documents(corpus_of(data), "train"))


def tokenized(
    data: DataConfig, split: Split, tokenizer: Tokenizer, limit: int = 0, longest: int = 0
) -> TokenizedCorpus:
    """Return the documents of a split as tokens, each begun by the document token.

    At most ``limit`` tokens of each, and only the ``longest`` so many documents; 0 is all. ConfigError for a limit of
    1, which leaves the document token alone.
    """
    if limit == 1:
        raise ConfigError(
            "of 1 token of a document nothing is predicted, for each begins with the document token: "
            "eval.tokens and train.validate_tokens should be 2 or more, or eval.tokens 0 for all; got 1"
        )
    corpus = corpus_of(data)
    documents = load_documents(corpus, split)
    if longest:
        documents = sorted(documents, key=lambda document: -len(document.text))[:longest]
    return replace(tokenize(documents, tokenizer, limit or None), notice=corpus.notice())
