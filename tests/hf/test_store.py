"""A store of what a model has read, read again beside whatever it reads later."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command_line import Run
from hf.families import COMMON, save_places, text, tiny
from memstack_hf import attach, from_pretrained
from memstack_hf.memory.storing import ModelReading

from memstack import OptionsError, StateError
from memstack.wrappers.common import StoreBuilder
from memstack.wrappers.common.files import Parts

SMALL: dict[str, Any] = {"window": 16, "segment": 16, "neighbours": 8, "capacity": 64}


def taken(model: Any, tokens: torch.Tensor, layers: tuple[int, ...] | None = None) -> tuple[ModelReading, list[Parts]]:
    with ModelReading("toy", model, layers) as reading:
        return reading, list(reading.read(tokens))


def build(folder: Path, model: Any, *texts: torch.Tensor, layers: tuple[int, ...] | None = None) -> str:
    with ModelReading("toy", model, layers) as reading, StoreBuilder(str(folder), reading.header) as builder:
        for number, tokens in enumerate(texts):
            assert not builder.has(str(number), str(number))
            for parts in reading.read(tokens):
                builder.add(parts)
            builder.end(str(number), str(number), reading.first)
        builder.finish()
    return str(folder)


@torch.no_grad()
def test_all_but_the_sinks_is_stored_as_the_memory_has_it() -> None:
    model, book = tiny("llama", COMMON), text(1, 1000)
    reading, parts = taken(model, book[0])
    assert list(reading.header.layers) == [1]
    assert reading.first == 4
    keys, values = (torch.cat([each[1][place] for each in parts], 1) for place in (0, 1))
    assert keys.shape == values.shape == (2, 996, 16)
    with attach(model, position="fixed", capacity=2000) as memory:
        memory.read(book)
        state = memory.snapshot().remembered
    held = state["1.keys"].shape[2]
    assert 500 < held < 996
    assert torch.equal(state["1.keys"][0], keys[:, :held])
    assert torch.equal(state["1.values"][0], values[:, :held])
    assert taken(model, book[0, :3])[1] == []


@torch.no_grad()
def test_a_store_is_read_as_if_every_row_had_read_it_before(tmp_path: Path) -> None:
    model, book, question = tiny("llama", COMMON), text(1, 600), text(2, 150, seed=3)
    place = build(tmp_path / "store", model, book[0], layers=(0, 2))
    settings: dict[str, Any] = SMALL | {"capacity": 1000}
    _, parts = taken(model, book[0], (0, 2))
    with attach(model, position="fixed", far_layers=[0, 2], **settings) as memory:
        memory.prepare(2, torch.tensor([1, 1]))
        for layer in (0, 2):
            keys, values = (torch.cat([each[layer][i] for each in parts], 1).expand(2, -1, -1, -1) for i in (0, 1))
            memory.bank[layer].add(keys, values)
        expected = memory.read(question, logits=True)
    with attach(model, store=place, **settings) as memory:
        found = memory.read(question, logits=True)
        assert memory.plan.far_layers == (0, 2)
        remembered = memory.remembered
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with attach(model, position="fixed", far_layers=[0, 2], **settings) as memory:
        alone = memory.read(question, logits=True)
        assert torch.equal(memory.remembered, remembered)  # which counts a text's own
    assert alone is not None
    assert (found - alone)[:, 0].abs().max() > 1e-3  # from the first token on


@torch.no_grad()
def test_generation_snapshots_and_saved_settings_go_on_with_a_store(tmp_path: Path) -> None:
    model, question = tiny("llama", COMMON), text(1, 100, seed=3)
    place = build(tmp_path / "store", model, *text(2, 300))
    with attach(model, store=place, **SMALL) as memory:
        memory.read(question)
        now = memory.snapshot()
        assert all(part.shape[2] <= 64 for name, part in now.remembered.items() if name.endswith("keys"))
        first = model.generate(question[:, :8], max_new_tokens=6, do_sample=False, num_beams=2)
        memory.restore(now)
        assert torch.equal(first, model.generate(question[:, :8], max_new_tokens=6, do_sample=False, num_beams=2))
        memory.reset()
        logits = memory.read(question, logits=True)
        memory.save_pretrained(tmp_path / "saved")
        assert memory.store is not None
        assert memory.store.source(0) == ("0", 4)
    with from_pretrained(model, tmp_path / "saved") as memory:
        again = memory.read(question, logits=True)
    assert torch.equal(torch.as_tensor(again), torch.as_tensor(logits))


@torch.no_grad()
def test_a_store_alone_is_read_and_nothing_else_is_remembered(tmp_path: Path) -> None:
    model, question = tiny("llama", COMMON), text(1, 100, seed=3)
    place = build(tmp_path / "store", model, text(1, 300)[0])
    with attach(model, store={"place": place, "alone": True}, **SMALL) as memory:
        memory.read(question)
        assert memory.remembered.tolist() == [0]


def test_a_store_that_does_not_suit_is_refused_and_the_model_is_as_before(tmp_path: Path) -> None:
    model, ids = tiny("llama", COMMON), text(1, 8)
    place = build(tmp_path / "store", model, text(1, 300)[0])
    before = model(ids).logits
    refusals: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (model, {"store": place, "position": "true"}, OptionsError, "a store gives has no true place"),
        (model, {"store": place, "far_layers": [0]}, OptionsError, r"has nothing of layers \[0\]"),
        (model, {"store": str(tmp_path)}, StateError, "there is no store in"),
        (tiny("llama", COMMON, seed=1), {"store": place}, StateError, "keys of another model, toy"),
    ]
    for other, settings, error, says in refusals:
        with pytest.raises(error, match=says):
            attach(other, **settings)
    assert torch.equal(model(ids).logits, before)
    with attach(model):
        pass


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of letters, and a folder of texts."""
    return save_places(tmp_path_factory.mktemp("hf"))


def test_the_commands_build_and_read_a_store(places: tuple[Path, Path], memstack: Run) -> None:
    model, texts = places
    line = ["hf-build-store", model, texts, "--out", "store", "--dtype", "float32", "--layer", "0", "--layer", "2"]
    code, out, err = memstack(*line)
    assert code == 0, err
    assert "1,450 entries of each of the layers 0, 2, from 2 documents" in out
    assert "2 of 3 documents were there already" in memstack(*line, texts / "one.txt")[1]
    read = ["--data", texts, "--tokens", "600", "--documents", "1", "--dtype", "float32", "--store", "store"]
    code, _, err = memstack("hf-eval", model, *read, "--window", "64", "--json", "found.json")
    assert code == 0, err
    ways = {each["way"]: each.get("perplexity") for each in json.loads(Path("found.json").read_text())["readings"]}
    assert {"+ exact 8,192", "+ exact 8,192 + store"} < set(ways)
    assert ways["+ exact 8,192"] != ways["+ exact 8,192 + store"]
    asked = ["hf-ask", model, texts / "one.txt", "the boats", "--store", "store", "--dtype", "float32"]
    assert memstack(*asked)[0] == 0
    code, _, err = memstack("hf-eval", model, *read, "--position", "true")
    assert code == 2
    assert "a store gives has no true place" in err
    assert len(err.strip().splitlines()) == 1
    assert memstack("hf-build-store", model, "nowhere", "--out", "other")[0] == 2
