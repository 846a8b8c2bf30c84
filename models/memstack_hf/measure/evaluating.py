"""What ``memstack hf-eval`` does, and its tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from memstack.cli import console
from memstack.cli.console import OUT, say, telling, write_record
from memstack.plugins.registry import registry
from memstack_hf.config import settings
from memstack_hf.measure.loading import documents, load
from memstack_hf.measure.passkey import passkeys
from memstack_hf.measure.reading import change, read_documents
from memstack_hf.measure.records import Found, HfEval, Reading
from memstack_hf.measure.ways import Way, ways
from memstack_hf.memory.attaching import attach
from memstack_hf.model.plan import shown

CALIBRATION = 4096
"""Tokens of each document by which far layers are found, at most."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    model: str
    data: Path
    tokens: int
    documents: int
    beyond: int
    capacities: Sequence[int]
    backends: Sequence[str]
    settings: dict[str, Any]
    calibrate: Path | None
    passkeys: Sequence[int]
    trials: int
    dtype: str
    store: str | None = None


def evaluate(asked: Asked, json_: Any) -> None:
    """Read all documents in all ways, hide passkeys if asked to, and print and write what came of it."""
    for name in asked.backends:
        registry().backend_class(name)  # what is not installed should be said now, not after minutes
    for way in ways([*asked.capacities], [*asked.backends], asked.settings, asked.store):
        settings(way.settings or {})
    model, tokenizer = load(asked.model, asked.dtype)
    texts = dict(documents(asked.data, tokenizer, asked.tokens, asked.documents))
    chosen = asked.settings | _calibrated(model, tokenizer, asked)
    compared = ways([*asked.capacities], [*asked.backends], chosen, asked.store)
    readings = tuple(_read(model, way, texts, asked) for way in compared)
    OUT.print(readings_table(readings, asked))
    for reading in readings:
        if reading.note:
            say(f"note: {reading.way}: {reading.note}")
    found = tuple(_hidden(model, tokenizer, compared, asked))
    if found:
        OUT.print(passkey_table(found))
    record = HfEval(
        model=asked.model,
        dtype=str(model.dtype).removeprefix("torch."),
        tokens=asked.tokens,
        beyond=asked.beyond,
        far_layers=chosen.get("far_layers"),
        readings=readings,
        passkeys=found,
    )
    write_record(json_, record)


def _calibrated(model: Any, tokenizer: Any, asked: Asked) -> dict[str, Any]:
    """The far layers that are found on other documents, if asked to."""
    if asked.calibrate is None:
        return {}
    length = min(CALIBRATION, asked.tokens)
    ids = torch.cat([text for _, text in documents(asked.calibrate, tokenizer, length, asked.documents)])
    capacity, backend = max(asked.capacities), asked.backends[0]
    with attach(model, backend=backend, capacity=capacity, **asked.settings) as memory, telling(20) as tell:
        layers = memory.calibrate(ids.to(model.device), tell)
    say(f"layers that gain at a fixed distance, by {len(ids)} documents of {length:,} tokens: {shown(layers)}")
    return {"far_layers": layers}


def _read(model: Any, way: Way, texts: dict[str, Any], asked: Asked) -> Reading:
    with console.progress_bar() as progress:
        task = progress.add_task(way.name, total=asked.tokens * len(texts))
        return read_documents(model, way, texts, asked.beyond, lambda read: progress.advance(task, read))


def _hidden(model: Any, tokenizer: Any, compared: list[Way], asked: Asked) -> list[Found]:
    if not asked.passkeys:
        return []
    longest = max(asked.passkeys)
    (_, text), *_ = documents(asked.data, tokenizer, longest, 1)
    found: list[Found] = []
    for tokens in asked.passkeys:
        for way in compared[1:]:
            if tokens <= (way.longest(model) or tokens):
                found.append(passkeys(model, tokenizer, way, text[0], tokens, asked.trials))
    return found


def readings_table(readings: Sequence[Reading], asked: Asked) -> Table:
    """One line per way of reading."""
    base = next(each for each in readings if each.way == "window + sinks")
    bands = list(readings[0].by_position)
    headings = [f"beyond {asked.beyond:,}", "change", *bands, "tokens/s", "CPU s", "MB held"]
    rows = console.table("read with", right=headings)
    for each in readings:
        against = change(each, base)
        shown = "" if against is None or each is base else f"{against:+.1f} %"
        level = "" if each.perplexity is None else f"{each.perplexity:.3f}"
        by_band = [f"{each.by_position[band]:.3f}" if band in each.by_position else "" for band in bands]
        costs = f"{each.tokens_per_second:.0f}", f"{each.cpu_seconds:.0f}", f"{each.held_bytes / 1e6:.1f}"
        rows.add_row(each.way, level, shown, *by_band, *costs)
    return rows


def passkey_table(found: Sequence[Found]) -> Table:
    """One line per way of reading, one column per length."""
    lengths = sorted({each.tokens for each in found})
    rows = console.table("passkey found by", right=[f"{tokens:,} tokens" for tokens in lengths])
    for way in dict.fromkeys(each.way for each in found):
        cells = {each.tokens: f"{each.right} of {each.trials}" for each in found if each.way == way}
        rows.add_row(way, *(cells.get(tokens, "") for tokens in lengths))
    return rows
