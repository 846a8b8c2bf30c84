"""The comparison with other caches: our ways on a tiny model; the cells and the table with a worker that stands in."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hf.families import COMMON, tiny
from rich.console import Console
from torch.nn.functional import cross_entropy

from benchmarks.goals import hf_peers, hf_peers_ours
from benchmarks.goals.hf_peers_ours import Ours, ours, outcomes
from benchmarks.goals.hf_peers_results import HfPeers, shown
from benchmarks.goals.hf_peers_worker import FULL, Outcome, Text, bytes_per_token, judged
from benchmarks.goals.peer import our_torch

BUDGET, CONTEXTS, AFTER = 48, (64, 96), 16
FAKE = f"""#!{sys.executable}
import json, sys
print(json.dumps({{"groups": ["whole"], "versions": {{"kvpress": "0"}}}}), flush=True)
for line in sys.stdin:
    text = json.loads(line)["text"]
    sizes = {{"read_bytes": 1, "kept_bytes": 2, "peak_bytes": 3}}
    same = {{"way": "kvpress Some", "budget": {BUDGET}, "text": text["name"], "nats": 1.0, "right": True}}
    print(json.dumps({{"outcomes": [same | sizes | {{"context": each}} for each in text["contexts"]]}}), flush=True)
"""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tiny model, which is read in short segments."""
    monkeypatch.setattr(hf_peers_ours, "SEGMENT", 16)
    monkeypatch.setattr(hf_peers, "AFTER", AFTER)
    return tiny("llama", COMMON)


@pytest.fixture
def text() -> Text:
    torch.manual_seed(1)
    ids = torch.randint(3, 97, (max(CONTEXTS) + AFTER + 1,)).tolist()
    return Text("random", tuple(ids), CONTEXTS, AFTER, AFTER, BUDGET)


def test_each_of_our_ways_keeps_to_its_budget(model: Any, text: Text) -> None:
    found = {way.name: [*outcomes(model, way, text)] for way in ours(BUDGET).values()}
    most, all_bytes = (tokens * bytes_per_token(model) for tokens in (BUDGET, CONTEXTS[-1]))
    last = {name: each[-1] for name, each in found.items()}
    full = last.pop(FULL)
    assert full.read_bytes == full.kept_bytes == full.peak_bytes == all_bytes
    assert all([one.context for one in each] == [*CONTEXTS] for each in found.values())
    assert all(one.read_bytes <= most for one in last.values())
    dropping = {"transformers' sliding cache", "window + sinks", "memory of half the budget, bfloat16"}
    assert {name for name, one in last.items() if one.kept_bytes < all_bytes} == dropping | {"memory, bfloat16"}
    assert last["memory"].kept_bytes == all_bytes  # the tiny model computes in float32
    assert all(one.peak_bytes >= one.kept_bytes for one in last.values())
    assert all(last[name].kept_bytes <= most for name in dropping)


def test_full_attention_and_a_window_that_holds_all_are_a_plain_forward(model: Any, text: Text) -> None:
    ids = torch.tensor(text.ids)[None]
    with torch.no_grad():
        logits = model(input_ids=ids[:, :-1]).logits[0]
    plain = cross_entropy(logits[-AFTER:], ids[0, -AFTER:]).item()
    for way in (Ours(FULL, 0), Ours("transformers' sliding cache", 200)):
        *_, last = outcomes(model, way, text)
        assert last.nats == pytest.approx(plain, abs=1e-5)


def test_a_context_that_was_not_compressed_is_an_error(model: Any, text: Text) -> None:
    """A window lets go of whole segments: it may hold more than it should where a context is none."""
    odd = Text(text.name, text.ids, (56,), AFTER, AFTER, BUDGET)
    way = ours(BUDGET)["window + sinks"]
    with pytest.raises(RuntimeError, match="should read 48 tokens after 56, not 56"):
        list(outcomes(model, way, odd))


def test_only_what_counts_is_judged() -> None:
    logits = torch.full((3, 5), -50.0)
    logits[torch.arange(3), torch.tensor([4, 1, 2])] = 50.0
    wanted = torch.tensor([0, 1, 2])
    assert judged(logits, wanted, 2) == (0.0, True)
    nats, right = judged(logits, wanted, 3)
    assert (nats, right) == (pytest.approx(100 / 3), False)


def test_levels_are_geometric_means_and_passkeys_stand_apart() -> None:
    results = [
        Outcome("one", 48, name, 64, nats, right, 10**6, 2 * 10**6, 3 * 10**6)
        for name, nats, right in (("a", 1.0, False), ("b", 3.0, False), ("passkey 0", 9.0, True))
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(shown(results, [64]))
    line = capture.get().splitlines()[-1].split()
    assert line == ["one", "48", "7.389", "7.389", "2", "1", "of", "1", "1.0", "2.0", "3.0"]


def test_cells_are_kept_and_asked_for_once(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def letters(text: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[3 + ord(letter) % 90 for letter in text])

    python = tmp_path / "python"
    python.write_text(FAKE)
    python.chmod(0o700)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "tide.txt").write_text("the tide comes in twice a day\n" * 9)
    monkeypatch.setattr(hf_peers, "load", lambda name, dtype: (model, letters))
    wanted: list[Sequence[str]] = []
    monkeypatch.setattr(hf_peers, "environment", lambda folder, *installs: wanted.extend(installs) or python)
    same: dict[str, Any] = {"data": [tmp_path / "texts"], "passkeys": tmp_path / "texts", "cells": tmp_path / "cells"}
    same |= {"budget": [BUDGET], "context": [*CONTEXTS], "passkey_tokens": 96, "trials": 2, "threads": 1}
    hf_peers.main(**same, out=tmp_path / "first.json", only=None)
    first = HfPeers.read(tmp_path / "first.json")
    assert {one.text for one in first.outcomes} == {"tide.txt", "passkey 0", "passkey 1"}
    assert {one.way for one in first.outcomes} == {*ours(BUDGET)} | {"kvpress Some"}
    assert first.versions == {"kvpress": "0"}
    assert wanted == [["kvpress==0.5.5", "transformers==5.2.0", our_torch()]]
    python.write_text(FAKE.replace("for line", "raise SystemExit(f'asked') if sys.stdin.readline() else 0\nfor line"))
    hf_peers.main(**same, out=tmp_path / "again.json", only=None)
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((tmp_path / "first.json").read_text())
    before = {*(tmp_path / "cells").iterdir()}
    other: dict[str, Any] = same | {"context": [64], "passkeys": None}
    hf_peers.main(**other, out=None, only="memstack")
    assert len({*(tmp_path / "cells").iterdir()} - before) == len(ours(BUDGET))
