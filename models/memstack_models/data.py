"""From a ``[data]`` section to token streams: documents, tokeniser, readers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from memstack.config import MemoryConfig
from memstack_models.cache import Cache
from memstack_models.config import DataConfig, RunConfig
from memstack_models.corpus import TokenizedCorpus, tokenize
from memstack_models.documents import Split, load_documents
from memstack_models.errors import CorpusError
from memstack_models.reader import Reader
from memstack_models.stream import Stream, create_memories
from memstack_models.tokenizer import Tokenizer, train_tokenizer


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


def training_streams(run: RunConfig, documents: Sequence[Tensor], device: torch.device) -> list[Stream]:
    """One stream per part of a step; each part owns its documents, rows, readers and memories."""
    parts, rows = run.train.accumulation, run.train.rows // run.train.accumulation
    if len(documents) < parts:
        raise CorpusError(f"accumulation {parts} needs at least {parts} train documents, got {len(documents)}")
    readers = [Reader(documents[i::parts], rows, run.train.segment, run.train.seed + i) for i in range(parts)]
    return [_stream(run, run.memory, reader, rows, device) for reader in readers]


def evaluation_stream(
    run: RunConfig, documents: Sequence[Tensor], device: torch.device, memory: MemoryConfig | None
) -> Stream:
    """A stream that reads each document once with new memories; ``memory`` None evaluates with the memory off."""
    rows = min(run.eval.rows, len(documents))
    return _stream(run, memory, Reader(documents, rows, run.train.segment, once=True), rows, device)


def _stream(run: RunConfig, memory: MemoryConfig | None, reader: Reader, rows: int, device: torch.device) -> Stream:
    memories = create_memories(run.model, memory, rows, device) if memory is not None else []
    return Stream(reader, memories, Cache(run.model, rows, device), run.model.memory_layers)
