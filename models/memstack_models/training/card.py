"""model_card(): the README of an exported run: what it is, what it was trained on, how it is used."""

from collections.abc import Sequence
from typing import Any

from memstack import corpora
from memstack_models.training.config import RunConfig
from memstack_models.training.records import LogEntry

CARD = "README.md"
TEMPLATE = """\
---
library_name: memstack
tags: [memorizing-transformer, long-context, knn-memory]
---

# {name}

A decoder of {layers} layers, {dim} wide, with {heads} heads and a context of {segment} tokens, {memory}.
Weights in bfloat16 after {step:,} steps of {rows} x {segment} tokens.

## Text

{text}

## What it reaches

{reached}

## Use

    memstack eval {name}{data}

`config.toml` holds every setting, `log.jsonl` what was measured in training, `tokenizer.json` the vocabulary.
"""


def model_card(name: str, run: RunConfig, step: int, log: Sequence[LogEntry]) -> str:
    """Return the card of a run as Markdown; nothing in it comes from the machine, and no path."""
    known = {spec.name: spec for spec in corpora()}.get(run.data.corpus)
    text = (
        f"`{run.data.corpus}`: {known.summary} (licence: {known.licence})."
        if known
        else (
            "Documents of its owner's, which are not part of this folder. To evaluate, give documents of the same kind."
        )
    )
    fields: dict[str, Any] = {name: getattr(run.model, name) for name in ("layers", "dim", "heads")}
    return TEMPLATE.format(
        name=name,
        **fields,
        segment=run.train.segment,
        rows=run.train.rows,
        memory=_memory(run),
        step=step,
        text=text,
        reached=_reached(log),
        data="" if known and known.name != "folder" else " --data FOLDER",
    )


def _memory(run: RunConfig) -> str:
    layers = run.model.memory_layers
    if not layers:
        return "without a memory"
    where = ", ".join(map(str, layers))
    return f"with a memory of {run.memory.capacity:,} entries in layer{'s' if len(layers) > 1 else ''} {where}"


def _reached(log: Sequence[LogEntry]) -> str:
    validations = [entry for entry in log if entry.kind == "validation"]
    if not validations:
        return "It was not validated in training."
    last = validations[-1]
    own = f", {last.with_memory.perplexity:.3f} with it" if last.with_memory else ""
    return f"Validation perplexity at step {last.step:,}: {last.without.perplexity:.3f} without a memory{own}."
