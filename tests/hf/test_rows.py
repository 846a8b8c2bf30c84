"""Rows side by side: ragged and padded batches, beams, texts that begin anew, texts longer than the native context."""

from typing import Any

import pytest
import torch
from hf.families import COMMON, text, tiny
from memstack_hf import LongMemory, attach
from torch import Tensor

from memstack import ShapeError

SMALL: dict[str, Any] = {"window": 16, "segment": 16, "neighbours": 8, "capacity": 64}
SHORT: dict[str, Any] = COMMON | {"max_position_embeddings": 64}


def ragged(lengths: list[int], side: str) -> tuple[Tensor, Tensor]:
    longest = max(lengths)
    ids, mask = (
        torch.zeros(len(lengths), longest, dtype=torch.int64),
        torch.zeros(len(lengths), longest, dtype=torch.int64),
    )
    for row, n in enumerate(lengths):
        here = slice(longest - n, longest) if side == "left" else slice(n)
        ids[row, here], mask[row, here] = text(1, n, seed=row)[0], 1
    return ids, mask


def alone(memory: LongMemory, ids: Tensor, mask: Tensor) -> list[Tensor]:
    read = []
    for row in range(len(ids)):
        memory.reset()
        logits = memory.read(ids[row][mask[row] == 1][None], logits=True)
        assert logits is not None
        read.append(logits[0])
    memory.reset()
    return read


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("config", [COMMON, SHORT], ids=["near", "far"])
@pytest.mark.parametrize("position", ["auto", "true", "fixed"])
@torch.no_grad()
def test_a_padded_row_is_read_as_if_it_were_alone(position: str, config: dict[str, int], side: str) -> None:
    model, (ids, mask) = tiny("llama", config), ragged([150, 97, 20, 3], side)
    with attach(model, position=position, **SMALL) as memory:
        expected = alone(memory, ids, mask)
        read = memory.read(ids, mask, logits=True)
        assert read is not None
        for row in range(4):
            torch.testing.assert_close(read[row][mask[row] == 1], expected[row], rtol=0, atol=1e-4)
        assert memory.seen.tolist() == [150, 97, 20, 3]
        assert memory.far.tolist() == [
            position == "fixed" or (position == "auto" and n > 64 and config is SHORT) for n in (150, 97, 20, 3)
        ]


@torch.no_grad()
def test_a_left_padded_prompt_is_answered_as_alone() -> None:
    model, (ids, mask) = tiny("llama", COMMON), ragged([60, 37, 12], "left")
    with attach(model, **SMALL) as memory:
        together = model.generate(ids, attention_mask=mask, max_new_tokens=40, do_sample=False)[:, ids.shape[1] :]
        assert memory.seen.tolist() == [60 + 39, 37 + 39, 12 + 39]  # the last token has not been read
        for row in range(3):
            memory.reset()
            prompt = ids[row][mask[row] == 1][None]
            apart = model.generate(prompt, max_new_tokens=40, do_sample=False)[:, prompt.shape[1] :]
            assert torch.equal(together[row], apart[0])


@torch.no_grad()
def test_a_text_that_outgrows_the_context_goes_on_at_the_fixed_distance() -> None:
    model, ids = tiny("llama", SHORT), text(1, 200)
    with attach(model, layers=[0, 1, 2], far_layers=[1], **SMALL) as memory:
        auto = memory.read(ids, logits=True)
        assert memory.far.tolist() == [True]
        assert {layer: int(each.lengths) for layer, each in memory.bank.items()} == {0: 0, 1: 64, 2: 0}
        kept = memory.bank[1].state_dict()["keys"]
    with attach(model, layers=[1], position="fixed", **SMALL) as memory:
        fixed = memory.read(ids, logits=True)
        assert fixed is not None
        assert auto is not None
        # Keys that were turned back when the text outgrew the context are those that were never turned.
        assert kept.shape == memory.bank[1].state_dict()["keys"].shape
    assert torch.isfinite(auto).all()


@torch.no_grad()
def test_keys_stand_unrotated_whenever_the_text_outgrew_the_context() -> None:
    """With one layer the keys depend on tokens alone: moved late or early, they are the same."""
    config, ids = SHORT | {"num_hidden_layers": 1}, text(2, 120)
    settings: dict[str, Any] = SMALL | {"capacity": 500}
    states: list[tuple[Tensor, Tensor | None]] = []
    for position in ("auto", "fixed"):
        with attach(tiny("llama", config), position=position, **settings) as memory:
            memory.read(ids)
            memory.settle()
            states.append((memory.bank[0].state_dict()["keys"], memory.cache.each[0].keys))
    for late, early in zip(*states, strict=True):
        torch.testing.assert_close(late, early, rtol=0, atol=1e-4)


@torch.no_grad()
def test_rows_that_begin_another_text_forget_the_last() -> None:
    model, ids = tiny("llama", COMMON), text(3, 80)
    begin = torch.tensor([False, True, False])
    with attach(model, **SMALL) as memory:
        memory.read(ids)
        other = text(3, 16, seed=9)
        went_on = model(other, starts=begin).logits
        assert memory.seen.tolist() == [96, 16, 96]
        memory.reset()
        torch.testing.assert_close(went_on[1], model(other[1:2]).logits[0], rtol=0, atol=2e-5)
        memory.reset()
        memory.read(ids[[0, 2]])
        torch.testing.assert_close(went_on[[0, 2]], model(other[[0, 2]]).logits, rtol=0, atol=2e-5)


@torch.no_grad()
def test_beams_are_those_of_full_attention() -> None:
    model, prompt = tiny("llama", COMMON), text(2, 70)
    mask = torch.ones_like(prompt)
    asked = {
        "attention_mask": mask,
        "num_beams": 3,
        "num_return_sequences": 2,
        "max_new_tokens": 30,
        "do_sample": False,
    }
    expected = model.generate(prompt, **asked)
    with attach(model, position="true", window=16, segment=16, neighbours=256, capacity=256) as memory:
        assert torch.equal(model.generate(prompt, **asked), expected)
        assert len(memory.seen) == 6


@torch.no_grad()
def test_one_text_is_asked_by_many_and_taken_up_again() -> None:
    model, book, question = tiny("llama", COMMON), text(1, 100), text(1, 5, seed=3)
    with attach(model, **SMALL) as memory:
        memory.read(book)
        book_read = memory.snapshot()
        once = model(question).logits
        memory.restore(book_read)
        asked = model(question.expand(4, -1)).logits
        assert memory.seen.tolist() == [105] * 4
        memory.restore(book_read)
        assert memory.seen.tolist() == [100]
        again = model(question).logits
        assert torch.equal(once, again)
        torch.testing.assert_close(asked, once.expand(4, -1, -1), rtol=0, atol=1e-5)
        memory.restore(book_read)
        memory.select(torch.tensor([0, 0]))
        with pytest.raises(ShapeError, match=r"holds 2 rows.*batch of"):
            model(question.expand(3, -1))
