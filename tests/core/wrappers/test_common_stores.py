"""Stores in a folder: filled, cut off and gone on with, read by any backend, refused where they do not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.toy_store import HEADER, LAYERS, PIECE, CutError, parts_of, read_into
from safetensors.torch import load_file, save_file
from torch import Tensor

from memstack import ConfigError, Memory, MemoryShape, StateError, create_memory
from memstack.plugins.config import MemoryConfig, StoreConfig
from memstack.wrappers.common import BesideMemory, CommonMemory, Header, StoreBuilder, building, open_store
from memstack.wrappers.common.files import FileLog, Pieces

DOCUMENTS = {"a": 7, "b": 40, "c": 0, "d": 3, "e": 25, "f": 1}
ENTRIES = sum(DOCUMENTS.values())


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "PIECE", PIECE)


def fill(folder: Path, documents: dict[str, int] = DOCUMENTS, header: Header = HEADER, stop: int = -1) -> list[str]:
    """Fill a store; returns the documents that were not there. Cut off at segment ``stop``."""
    with StoreBuilder(str(folder), header) as builder:
        read = read_into(builder, documents, stop, first=2)
        assert builder.finish() == sum(documents.values())
    return read


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".jsonl", ".safetensors")}


def entries(folder: Path, layer: int, backend: str = "exact") -> tuple[Tensor, Tensor]:
    state = open_store(StoreConfig(place=str(folder)), HEADER.digest, backend, {}).memories[layer].state_dict()
    return state["keys"][0], state["values"][0]


@pytest.mark.parametrize("backend", ["exact", "bucketed"])
def test_a_store_holds_every_entry_of_every_document_in_order(tmp_path: Path, backend: str) -> None:
    fill(tmp_path / "store")
    for layer in LAYERS:
        expected = [parts_of(name, 0, n)[layer] for name, n in DOCUMENTS.items()]
        for place, found in enumerate(entries(tmp_path / "store", layer, backend)):
            assert torch.equal(found, torch.cat([each[place] for each in expected], 1))


@pytest.mark.parametrize("stop", [1, 2, 3, 6, 9, 12, 15])
def test_cut_off_anywhere_it_comes_to_the_same_files(tmp_path: Path, stop: int) -> None:
    fill(tmp_path / "whole")
    with pytest.raises(CutError):
        fill(tmp_path / "cut", stop=stop)
    for again in (2, 5):
        with pytest.raises(CutError):
            fill(tmp_path / "cut", stop=again)
    fill(tmp_path / "cut")
    for layer in LAYERS:
        for found, expected in zip(entries(tmp_path / "cut", layer), entries(tmp_path / "whole", layer), strict=True):
            assert torch.equal(found, expected)
    assert files(tmp_path / "cut")["store.jsonl"] == files(tmp_path / "whole")["store.jsonl"]


@pytest.mark.parametrize("where", [FileLog, Pieces])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
@pytest.mark.parametrize("before", [True, False])
def test_cut_off_between_two_writes_nothing_is_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, call: int, before: bool
) -> None:
    fill(tmp_path / "whole")
    write, calls = where.append, iter(range(1, 100))

    def cut(*given: Any) -> None:
        now = next(calls) == call
        if not (now and before):
            write(*given)
        if now:
            raise CutError

    with monkeypatch.context() as patched:
        patched.setattr(where, "append", cut)
        with pytest.raises(CutError):
            fill(tmp_path / "cut")
    fill(tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_line_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    fill(tmp_path / "whole")
    with pytest.raises(CutError):
        fill(tmp_path / "cut", stop=12)
    with (tmp_path / "cut" / "store.jsonl").open("a") as log:
        log.write('{"document": "e", "entr')
    fill(tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_finished_store_reads_nothing_again_and_takes_more(tmp_path: Path) -> None:
    assert fill(tmp_path / "store") == [*DOCUMENTS]
    before = files(tmp_path / "store")
    assert fill(tmp_path / "store") == []
    assert files(tmp_path / "store") == before
    more = DOCUMENTS | {"g": 9}
    assert fill(tmp_path / "store", more) == ["g"]
    opened = open_store(StoreConfig(place=str(tmp_path / "store")), HEADER.digest, "exact", {})
    assert opened.memories[1].lengths.tolist() == [ENTRIES + 9]


def test_a_hit_is_named_by_its_document_and_token(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    opened = open_store(StoreConfig(place=str(tmp_path / "store")), HEADER.digest, "exact", {})
    own = create_memory("exact", MemoryShape(rows=2, heads=2, key_dim=8, value_dim=6, capacity=8))
    memory = opened.beside(1, own)
    keys = parts_of("e", 11, 1)[1][0]
    found = memory.search(1e3 * keys[None].expand(2, -1, -1, -1), 1)
    positions = found.positions.flatten().unique().tolist()
    assert [opened.source(position) for position in positions] == [("e", 11 + 2)]
    own.add(torch.randn(2, 2, 3, 8), torch.randn(2, 2, 3, 6))
    assert [opened.source(position) for position in (0, ENTRIES - 1, ENTRIES)] == [("a", 2), ("f", 2), None]


def test_what_a_layer_searches_is_as_configured(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    own = create_memory("exact", MemoryShape(rows=2, heads=2, key_dim=8, value_dim=6, capacity=8))
    beside, alone = (
        open_store(StoreConfig(place=str(tmp_path / "store"), alone=alone), HEADER.digest, "exact", {})
        for alone in (False, True)
    )
    assert isinstance(beside.beside(1, own), BesideMemory)
    assert isinstance(alone.beside(1, own), CommonMemory)
    assert beside.beside(2, own) is own  # a layer that the store has nothing of
    by_name = StoreConfig(place=str(tmp_path / "store"), backend="bucketed", options={"dtype": "float16"})
    searched: Memory = open_store(by_name, HEADER.digest, "exact", {"dtype": "int8"}).memories[1]
    assert type(searched).__name__ == "BucketedMemory"
    assert vars(searched)["options"].dtype == "float16"


def test_half_precision_is_kept_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path / "store", header=HEADER.model_copy(update={"dtype": "bfloat16"}))
    (first, *_) = sorted((tmp_path / "store").glob("*.safetensors"))
    assert {part.dtype for part in load_file(first).values()} == {torch.bfloat16}
    expected = torch.cat([parts_of(name, 0, n)[4][0] for name, n in DOCUMENTS.items()], 1)
    assert torch.equal(entries(tmp_path / "store", 4)[0], expected.bfloat16().float())


def opened(folder: Path, digest: str = HEADER.digest) -> Any:
    return open_store(StoreConfig(place=str(folder)), digest, "exact", {})


def test_a_store_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(StateError, match=r"there is no store in .*: build one with memstack build-store"):
        opened(store)
    with pytest.raises(CutError):
        fill(store, stop=12)
    with pytest.raises(StateError, match="is not finished: give the command that builds it once more"):
        opened(store)
    fill(store)
    refusals = [
        (lambda: opened(store, "e" * 64), "holds keys of another model, toy, which mean nothing to this one"),
        (lambda: fill(store, header=HEADER.model_copy(update={"digest": "e" * 64})), "keys of another model"),
        (
            lambda: fill(store, header=HEADER.model_copy(update={"layers": {1: LAYERS[1]}})),
            r"begun with other layers: \{1: \(2, 8, 6\), 4: \(1, 4, 4\)\}, not \{1: \(2, 8, 6\)\}",
        ),
        (
            lambda: fill(store, header=HEADER.model_copy(update={"dtype": "float16"})),
            "other dtype: float32, not float16",
        ),
        (lambda: fill(store, {"b": 40}), "document 1 of the store .* is 'a', and 'b' is given now"),
        (lambda: fill(store, {"a": 7}), "also holds 'b', which was not given now"),
    ]
    for ask, said in refusals:
        with pytest.raises(StateError, match=said) as caught:
            ask()
        assert len(str(caught.value).splitlines()) == 1


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("words")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("words")
    for place, said in (
        (tmp_path / "file", "is a file; choose another folder"),
        (tmp_path / "full", r"holds other files \(mine.txt, ...\)"),
        ("http://localhost:6334", "names no store: expected one as http://HOST:PORT/NAME"),
    ):
        with pytest.raises(ConfigError, match=said):
            StoreBuilder(str(place), HEADER)
    assert [path.name for path in (tmp_path / "full").iterdir() if path.suffix == ".txt"] == ["mine.txt"]
    with pytest.raises(ConfigError, match="backend 'exact' keeps nothing beyond its process"):
        StoreBuilder(str(tmp_path / "new"), HEADER, backend="exact")
    with pytest.raises(ConfigError, match="nothing was read that a memory would have kept"):
        fill(tmp_path / "empty", {"c": 0})


def test_one_process_at_a_time_fills_a_folder(tmp_path: Path) -> None:
    with (
        StoreBuilder(str(tmp_path / "store"), HEADER),
        pytest.raises(ConfigError, match="another process is filling the store"),
    ):
        StoreBuilder(str(tmp_path / "store"), HEADER)
    fill(tmp_path / "store")


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    fill(store := tmp_path / "store")
    log, pieces = store / "store.jsonl", sorted(store.glob("*.safetensors"))
    whole, first = log.read_bytes(), pieces[0].read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged, said in (
        (b"no store\n", "is no store as build-store writes it, or damaged"),
        (lines[0].replace(b'"format": 1', b'"format": 2') + b"".join(lines[1:]), "format"),
        (b"".join([*lines[:2], *lines[3:]]), "its entries are not as many as were finished"),
        (whole.replace(b'"entries": 7', b'"entries": -7'), "entries"),
    ):
        log.write_bytes(damaged)
        with pytest.raises(StateError, match=said):
            opened(store)
    log.write_bytes(whole)
    pieces[0].write_bytes(first[:200])
    with pytest.raises(StateError, match="cannot be read as entries of a store"):
        opened(store)
    save_file({name: part[..., :3].contiguous() for name, part in load_file(pieces[1]).items()}, pieces[0])
    with pytest.raises(StateError, match="should hold"):
        opened(store)
    pieces[0].unlink()
    with pytest.raises(StateError, match=f"has 0 of {ENTRIES} entries of layer 1"):
        opened(store)


def test_a_store_is_named_by_its_place_or_as_a_section() -> None:
    assert MemoryConfig().store is None
    assert MemoryConfig.model_validate({"store": "here"}).store == StoreConfig(place="here")
    section = {"place": "here", "alone": True, "backend": "bucketed"}
    assert MemoryConfig.model_validate({"store": section}).store == StoreConfig(
        place="here", alone=True, backend="bucketed"
    )
