"""The streams of a run: readers of tokens, each with a memory bank and a cache of its own."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from memstack import CorpusError, MemoryBank
from memstack.plugins.config import MemoryConfig
from memstack_models.data.reader import Reader
from memstack_models.training.common_store import beside_store
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

    Each group of ranks has its share of the rows of each part.
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
    model: nn.Module | None = None,
) -> Stream:
    """A stream that reads each document once with new memories; ``memory`` None evaluates with the memory off.

    Every group of ranks has a row or more, be it one without a document. A store that the memory reads beside is opened
    for the ``model``, which has to be given then.
    """
    rows = max(min(run.eval.rows, len(documents)), ranks.groups)
    stream = _stream(run, memory, Reader(documents, rows, run.train.segment, once=True), device, ranks)
    return stream if memory is None else replace(stream, bank=beside_store(stream.bank, memory, model))


def check_documents(streams: Sequence[Stream], ranks: Ranks) -> None:
    """CorpusError unless these streams read the same documents on every rank."""
    if ranks.size > 1:
        ranks.check_alike("documents", str([each.reader.state_dict()["made_for"].tolist() for each in streams]))


def grouped(ranks: Ranks, run: RunConfig, memory: MemoryConfig | None) -> Ranks:
    """These ranks in groups that have rows together, as a memory that lies on several of them asks for.

    ConfigError if they are no such groups.
    """
    return ranks.grouped(memory.shards if memory is not None and run.model.memory_layers else 1)


def _stream(run: RunConfig, memory: MemoryConfig | None, reader: Reader, device: torch.device, ranks: Ranks) -> Stream:
    share = ranks.share(reader.rows)
    rows = share.stop - share.start
    bank = create_bank(run.model, memory, rows, device) if memory is not None else MemoryBank()
    return Stream(reader, bank, Cache(run.model, rows, device), share)
