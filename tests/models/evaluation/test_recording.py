"""Recorded keys and queries: those of the model, in order, kept on disk, and played back as a key stream."""

from pathlib import Path
from typing import cast

import pytest
import torch
from helpers.small_checkpoint import SEGMENT, write_checkpoint
from memstack_models.data.errors import CheckpointError
from memstack_models.data.load import tokenized
from memstack_models.evaluation.recording import recordable, recording
from memstack_models.training import run_folder
from memstack_models.transformer.transformer import Block
from torch.nn.functional import normalize

from memstack import CorpusError, MemoryShape, ShapeError, create_memory
from memstack.measure import Recording
from memstack.measure.measurement import add_entries
from memstack.measure.recorded import Recorded

ENTRIES = 500  # more than the longest document's tokens, fewer than all


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return str(write_checkpoint(tmp_path))


def longest_documents(checkpoint: str) -> list[torch.Tensor]:
    run = run_folder.read_config(Path(checkpoint))
    _, tokenizer = run_folder.load_model(Path(checkpoint), run, torch.device("cpu"))
    return sorted(tokenized(run.data, "test", tokenizer).documents, key=len, reverse=True)


def test_every_memory_layer_and_head_is_recorded(checkpoint: str) -> None:
    made = recording(checkpoint, ENTRIES)
    assert made.keys.shape == made.queries.shape == (2 * 2, ENTRIES, 8)
    assert (made.memories, made.entries, made.key_dim, made.segment) == (4, ENTRIES, 8, SEGMENT)
    assert made.keys.dtype == made.queries.dtype == torch.float16
    torch.testing.assert_close(made.keys.float().norm(dim=-1), torch.ones(4, ENTRIES), atol=2e-3, rtol=0)
    assert not torch.equal(made.keys[0], made.keys[1])


@torch.no_grad()
def first_layers_queries(checkpoint: str, tokens: torch.Tensor) -> torch.Tensor:
    """What the first layer asks about a document's first tokens, (heads, tokens, head_dim), by the model's weights."""
    model, _ = run_folder.load_model(Path(checkpoint), run_folder.read_config(Path(checkpoint)), torch.device("cpu"))
    block = cast(Block, model.blocks[0])
    asked = block.attention.query(block.attention_norm(model.embedding(tokens.long())))
    return normalize(asked.unflatten(-1, (model.config.heads, -1)), dim=-1).transpose(0, 1)


def test_recorded_is_what_the_model_asks_about_one_document_after_the_other(checkpoint: str) -> None:
    """A document's last token is only predicted; then the next one begins."""
    first, second, *_ = longest_documents(checkpoint)
    made = recording(checkpoint, len(first) - 1 + SEGMENT)
    for begun, tokens in ((0, first[:SEGMENT]), (len(first) - 1, second[:SEGMENT])):
        recorded = made.queries[:2, begun : begun + SEGMENT].float()
        torch.testing.assert_close(recorded, first_layers_queries(checkpoint, tokens), atol=2e-3, rtol=0)


def test_a_recording_is_made_once(checkpoint: str) -> None:
    read: list[int] = []
    made = recording(checkpoint, ENTRIES, advance=read.append)
    assert sum(read) >= ENTRIES
    read.clear()
    again = recording(checkpoint, ENTRIES, advance=read.append)
    assert read == []
    assert torch.equal(made.keys, again.keys)
    recording(checkpoint, ENTRIES - 1, advance=read.append)
    assert read


def test_more_than_the_documents_hold_cannot_be_recorded(checkpoint: str) -> None:
    with pytest.raises(CorpusError, match="record fewer entries"):
        recording(checkpoint, 10**6)


def test_a_model_without_memory_layers_cannot_be_recorded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no memory layer"):
        recording(str(write_checkpoint(tmp_path, "model.memory_layers=[]")), ENTRIES)


def test_where_heads_share_a_memory_they_ask_in_turn(tmp_path: Path) -> None:
    checkpoint = str(write_checkpoint(tmp_path, "model.kv_heads=1"))
    made = recording(checkpoint, 100)
    assert made.queries.shape == (2, 100, 8)
    asked = first_layers_queries(checkpoint, longest_documents(checkpoint)[0][:SEGMENT])
    in_turn = torch.stack([asked[token % 2, token] for token in range(SEGMENT)])
    torch.testing.assert_close(made.queries[0, :SEGMENT].float(), in_turn, atol=2e-3, rtol=0)


def made_up(memories: int = 4, entries: int = 600, dim: int = 8, segment: int = SEGMENT) -> Recording:
    random = torch.Generator().manual_seed(0)
    keys, queries = (torch.randn(memories, entries, dim, generator=random) for _ in range(2))
    return Recording(normalize(keys, dim=-1).half(), normalize(queries, dim=-1).half(), segment)


def shape(rows: int = 1, heads: int = 4, key_dim: int = 8, capacity: int = 500) -> MemoryShape:
    return MemoryShape(rows=rows, heads=heads, key_dim=key_dim, value_dim=key_dim, capacity=capacity)


def same(found: torch.Tensor, recorded: torch.Tensor) -> bool:
    """Equal but for the rounding of half precision."""
    return torch.allclose(found, normalize(recorded.float(), dim=-1), atol=1e-6)


def test_keys_are_played_back_in_order_and_then_again() -> None:
    recorded = made_up()
    stream = Recorded(shape(), recorded)
    taken = torch.cat([stream.keys(n) for n in (1, 300, 299, 50)], 2)
    assert same(taken[0, :, :600], recorded.keys)
    assert torch.equal(taken[:, :, 600:], taken[:, :, :50])


def test_queries_are_those_of_the_segment_after_the_newest_key() -> None:
    recorded = made_up()
    stream = Recorded(shape(), recorded)
    for taken in (0, 100, 256):
        assert same(stream.queries(SEGMENT)[0], recorded.queries[:, taken : taken + SEGMENT])
        few = stream.queries(3)[0]
        after = normalize(recorded.queries[:, taken : taken + SEGMENT].float(), dim=-1)
        assert torch.cdist(few, after).amin(-1).max() < 1e-3
        stream.keys({0: 100, 100: 156, 256: 0}[taken])
    with pytest.raises(ShapeError, match=f"asked {SEGMENT} queries at once, {SEGMENT + 1} were wanted"):
        stream.queries(SEGMENT + 1)


def test_asking_changes_no_key_to_come() -> None:
    asked, silent = Recorded(shape(), made_up()), Recorded(shape(), made_up())
    asked.queries(5)
    assert torch.equal(asked.keys(300), silent.keys(300))


def test_every_row_and_head_begins_elsewhere() -> None:
    """Three rows of four heads have four recorded memories: each begins at three places, a third of the text apart."""
    recorded = made_up()
    keys = Recorded(shape(rows=3), recorded).keys(10)
    for row, begun in enumerate((0, 200, 400)):
        assert same(keys[row], recorded.keys[:, begun : begun + 10])
    other = Recorded(shape(rows=3), recorded, seed=1).keys(10)
    assert not torch.equal(other, keys)


def test_fewer_memories_than_were_recorded_are_taken_from_all_layers() -> None:
    recorded = made_up(memories=8)
    keys = Recorded(shape(heads=4), recorded).keys(5)
    assert same(keys[0], recorded.keys[::2, :5])


def test_keys_of_another_dimension_or_too_few_are_refused() -> None:
    with pytest.raises(ShapeError, match="key_dim=8, the memory has 16"):
        Recorded(shape(key_dim=16), made_up())
    Recorded(shape(capacity=600 - SEGMENT), made_up())
    with pytest.raises(ShapeError, match="needs more than the 600"):
        Recorded(shape(capacity=601 - SEGMENT), made_up())


def test_no_memory_holds_what_is_asked_beside_its_queries() -> None:
    """Full and turned over once, as when a recording is just long enough: its queries' own keys are still to come."""
    made = made_up(memories=1)
    memory = create_memory("exact", shape(heads=1, capacity=600 - SEGMENT))
    stream = Recorded(memory.shape, made)
    add_entries(memory, stream, 2 * memory.shape.capacity, SEGMENT)
    own = torch.arange(2 * memory.shape.capacity, 2 * memory.shape.capacity + SEGMENT) % made.entries
    stored = memory.state_dict()["keys"][0, 0]
    assert torch.cdist(stored, normalize(made.keys[0, own].float(), dim=-1)).min() > 1e-3


def test_what_can_be_recorded_is_counted(checkpoint: str) -> None:
    total = recordable(checkpoint)
    assert recording(checkpoint, total).entries == total
    with pytest.raises(CorpusError, match=f"have {total} tokens, not {total + 1}"):
        recording(checkpoint, total + 1)


def test_a_memory_can_be_filled_from_it() -> None:
    memory = create_memory("exact", shape(rows=2, capacity=100))
    add_entries(memory, Recorded(memory.shape, made_up()), 130, SEGMENT)
    assert memory.lengths.tolist() == [100, 100]
