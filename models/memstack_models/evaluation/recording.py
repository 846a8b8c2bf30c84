"""recording(): the keys a checkpoint really stores and the queries it asks, kept on disk once they are made."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from safetensors.torch import load, save
from torch import Tensor

from memstack import CorpusError, Memory, MemoryBank, SearchResult
from memstack.contract.validation import Padded
from memstack.measure import Recording
from memstack.plugins.config import MemoryConfig
from memstack.wrappers.base import MemoryWrapper
from memstack_models.data.cached import read_cached
from memstack_models.data.errors import CheckpointError
from memstack_models.data.load import tokenized
from memstack_models.data.reader import IGNORED
from memstack_models.training import run_folder
from memstack_models.training.bundled import CHECKPOINT
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.one_file import digest
from memstack_models.training.stream import Stream
from memstack_models.training.streams import evaluation_stream
from memstack_models.transformer.transformer import Transformer

Advance = Callable[[int], None]
ENTRIES = 1 << 16


def recording(
    checkpoint: str = CHECKPOINT,
    entries: int = ENTRIES,
    overrides: Sequence[str] = (),
    advance: Advance = lambda tokens: None,
    tell: Callable[[str], None] = lambda note: None,
) -> Recording:
    """Return what every memory layer and head of a checkpoint stores and asks while it reads held-out documents.

    The checkpoint searches exactly, in memories of the size it was trained with. It reads the longest document of the
    split that ``[eval]`` names, then the next, until it has stored so many ``entries``. What was made is kept in the
    cache folder under a digest of weights, text and number; ``advance`` is told the tokens read, if any are,
    ``tell`` what the corpus has to say.
    """
    folder = run_folder.find(checkpoint)
    run = run_folder.read_config(folder, overrides)
    if not run.model.memory_layers:
        raise CheckpointError(f"{checkpoint} has no memory layer, so nothing can be recorded: name another one")
    model, tokenizer = run_folder.load_model(folder, run, pick_device(run.train.device))
    corpus = tokenized(run.data, run.eval.split, tokenizer, entries + 1)
    if corpus.notice:
        tell(corpus.notice)
    documents = _documents(run, corpus.documents, entries)
    key = f"recording-{_digest(run, model, documents, entries)}"
    shape = len(run.model.memory_layers) * run.model.kv_heads, entries, run.model.head_dim
    keys, queries = read_cached(
        key, lambda: save(_record(run, model, documents, entries, advance)), lambda held: _recorded(held, shape)
    )
    return Recording(keys, queries, run.train.segment)


def recordable(checkpoint: str = CHECKPOINT, overrides: Sequence[str] = ()) -> int:
    """Return how many entries can be recorded at most: the tokens of the split, each document's last left out."""
    folder = run_folder.find(checkpoint)
    run = run_folder.read_config(folder, overrides)
    _, tokenizer = run_folder.load_model(folder, run, torch.device("cpu"))
    return sum(len(each) - 1 for each in tokenized(run.data, run.eval.split, tokenizer).documents)


class Tap(MemoryWrapper):
    """Keeps a copy, in half precision, of every key given to a memory of one row and of every query it is asked."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.keys: list[Tensor] = []
        self.queries: list[Tensor] = []

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        super().add(keys, values, lengths, padded=padded)
        self.keys.append(keys[0].to("cpu", torch.float16))

    def search(self, queries: Tensor, k: int) -> SearchResult:
        by_head = queries.detach()[0].unflatten(0, (self.shape.heads, -1))
        # Of the query heads that share a memory, each token's is another one.
        token = torch.arange(queries.shape[2], dtype=torch.int64, device="cpu")
        self.queries.append(by_head[:, token % by_head.shape[1], token].to("cpu", torch.float16))
        return super().search(queries, k)

    def cut(self, tokens: int) -> None:
        """Drop what came after so many tokens of the last segment: the padding at a document's end."""
        self.keys[-1], self.queries[-1] = self.keys[-1][:, :tokens], self.queries[-1][:, :tokens]


def _documents(run: RunConfig, found: list[Tensor], entries: int) -> list[Tensor]:
    """As many of the split's longest documents as hold so many tokens that are read: the last is only predicted."""
    chosen: list[Tensor] = []
    for document in sorted(found, key=len, reverse=True):
        if sum(len(each) - 1 for each in chosen) < entries and len(document) > 1:
            chosen.append(document)
    if (total := sum(len(each) - 1 for each in chosen)) < entries:
        raise CorpusError(f"the {run.eval.split} documents have {total} tokens, not {entries}: record fewer entries")
    return chosen


def _recorded(held: bytes, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Keys and queries of this shape; an error of some kind if these bytes hold none."""
    state = load(held)
    keys, queries = state["keys"], state["queries"]
    if any(each.dtype != torch.float16 or tuple(each.shape) != shape for each in (keys, queries)):
        raise ValueError(f"keys and queries should be float16 {shape}, got {tuple(keys.shape)}, {tuple(queries.shape)}")
    return keys, queries


@torch.no_grad()
def _record(
    run: RunConfig, model: Transformer, documents: list[Tensor], entries: int, advance: Advance
) -> dict[str, Tensor]:
    """Keys and queries (memories, entries, key_dim) of all layers and heads."""
    exact = MemoryConfig(capacity=run.memory.capacity, neighbours=run.memory.neighbours)
    one_row = run.model_copy(update={"eval": run.eval.model_copy(update={"rows": 1})})
    stream = evaluation_stream(one_row, documents, model.embedding.weight.device, exact)
    taps = {layer: Tap(memory) for layer, memory in stream.bank.items()}
    stream = replace(stream, bank=MemoryBank(taps))
    model.eval()
    _read(model, stream, [*taps.values()], advance)
    both = {"keys": [tap.keys for tap in taps.values()], "queries": [tap.queries for tap in taps.values()]}
    joined = {name: torch.cat([torch.cat(tap, 1) for tap in parts]) for name, parts in both.items()}
    return {name: whole[:, :entries].contiguous() for name, whole in joined.items()}


def _read(model: Transformer, stream: Stream, taps: list[Tap], advance: Advance) -> None:
    for segment in stream:
        _, new = model(segment.tokens.to(model.embedding.weight.device), stream.bank, stream.cache)
        stream.commit(new)
        read = int((segment.targets != IGNORED).sum())
        for tap in taps:
            tap.cut(read)
        advance(read)


def _digest(run: RunConfig, model: Transformer, documents: list[Tensor], entries: int) -> str:
    settings = f"{run.model} {run.memory.capacity} {run.memory.neighbours} {run.train.segment} {entries}"
    total = hashlib.sha256(digest(model.state_dict(), settings).encode())
    for document in documents:
        total.update(document.numpy().tobytes() + b"|")
    return total.hexdigest()
