"""From a ``[data]`` section to tokens: documents and their tokeniser."""

from memstack_models.data.config import DataConfig
from memstack_models.data.documents import Split, load_documents
from memstack_models.data.tokenized import TokenizedCorpus, tokenize
from memstack_models.data.tokenizer import Tokenizer, train_tokenizer


def tokenizer_for(data: DataConfig) -> Tokenizer:
    """Train the configured tokeniser on the train split, or take it from the cache."""
    return train_tokenizer(data.tokenizer, data.vocab_size, load_documents(data.corpus, "train"))


def tokenized(corpus: str, split: Split, tokenizer: Tokenizer, limit: int = 0, longest: int = 0) -> TokenizedCorpus:
    """The documents of a split as tokens, each begun by the document token.

    At most ``limit`` tokens of each, and only the ``longest`` so many documents; 0 is all.
    """
    documents = load_documents(corpus, split)
    if longest:
        documents = sorted(documents, key=lambda document: -len(document.text))[:longest]
    return tokenize(documents, tokenizer, limit or None)
