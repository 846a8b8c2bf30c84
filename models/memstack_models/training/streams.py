"""The streams of a run: readers of tokens, each with a memory bank and a cache of its own."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from memstack import ConfigError, CorpusError, MemoryBank
from memstack.plugins.config import MemoryConfig
from memstack_models.data.reader import Reader
from memstack_models.training.config import RunConfig
from memstack_models.training.ranks import ALONE, Ranks
from memstack_models.training.stream import Stream, create_bank
from memstack_models.transformer.cache import Cache


def training_streams(
    run: RunConfig,
    documents: Sequence[Tensor],
    device: torch.device,
    memory: MemoryConfig | None,
    ranks: Ranks = ALONE,
) -> list[Stream]:
    """One stream per part of a step; each part owns its documents, rows, readers and memories (none if None).

    Each rank has its share of the rows of each part.
    """
    parts, rows = run.train.accumulation, run.train.rows // run.train.accumulation
    if len(documents) < parts:
        raise CorpusError(f"accumulation {parts} needs at least {parts} train documents, got {len(documents)}")
    readers = [Reader(documents[i::parts], rows, run.train.segment, run.train.seed + i) for i in range(parts)]
    streams = [_stream(run, memory, reader, device, ranks) for reader in readers]
    return [replace(stream, number=i, distracted=run.train.distractors) for i, stream in enumerate(streams)]


def evaluation_stream(
    run: RunConfig,
    documents: Sequence[Tensor],
    device: torch.device,
    memory: MemoryConfig | None,
    ranks: Ranks = ALONE,
) -> Stream:
    """A stream that reads each document once with new memories; ``memory`` None evaluates with the memory off.

    Every rank has a row or more, be it one without a document.
    """
    rows = max(min(run.eval.rows, len(documents)), ranks.size)
    return _stream(run, memory, Reader(documents, rows, run.train.segment, once=True), device, ranks)


def check_documents(streams: Sequence[Stream], ranks: Ranks) -> None:
    """CorpusError unless these streams read the same documents on every rank."""
    if ranks.size > 1:
        ranks.check_alike("documents", str([each.reader.state_dict()["made_for"].tolist() for each in streams]))


def refuse_shards(memory: MemoryConfig | None, ranks: Ranks) -> None:
    """ConfigError if a memory is to lie on several of these ranks, each of which has rows of its own."""
    if memory is not None and memory.shards > 1 and ranks.size > 1:
        raise ConfigError(
            f"memory.shards = {memory.shards} is for ranks that all read the same rows, and each of these {ranks.size} "
            "has rows, and memories, of its own: leave memory.shards at 1"
        )


def _stream(run: RunConfig, memory: MemoryConfig | None, reader: Reader, device: torch.device, ranks: Ranks) -> Stream:
    share = ranks.share(reader.rows)
    rows = share.stop - share.start
    bank = create_bank(run.model, memory, rows, device) if memory is not None else MemoryBank()
    return Stream(reader, bank, Cache(run.model, rows, device), share)
