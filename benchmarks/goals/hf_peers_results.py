"""What ``hf_peers.py`` writes down, and its table."""

from collections.abc import Sequence
from math import exp
from statistics import mean
from typing import Literal

from rich.table import Table

from memstack.cli.console import table
from memstack.plugins.records import Record

from .hf_peers_worker import Outcome


class HfPeers(Record):
    """What ``hf_peers.py`` writes."""

    kind: Literal["hf-peers"] = "hf-peers"
    model: str
    dtype: str
    machine: dict[str, str]
    versions: dict[str, str]
    """Of the peer's environment."""
    outcomes: tuple[Outcome, ...]


def shown(results: Sequence[Outcome], contexts: Sequence[int]) -> Table:
    """One line per way and budget; perplexities are geometric means over documents, bytes those of the last context."""
    made = table(
        "attends to",
        right=(
            "tokens",
            *(f"after {each:,}" for each in contexts),
            "all",
            "texts",
            "passkeys",
            "MB read",
            "kept",
            "peak",
        ),
    )
    for way, budget in sorted({(one.way, one.budget): None for one in results}, key=lambda key: key[1]):
        mine = [one for one in results if (one.way, one.budget) == (way, budget)]
        read = [one for one in mine if not one.text.startswith("passkey")]
        hidden = [one for one in mine if one.text.startswith("passkey")]
        levels = [perplexity([one for one in read if one.context == each]) for each in contexts]
        last = [one for one in read if one.context == contexts[-1]] or hidden
        held = [
            f"{mean(getattr(one, name) for one in last) / 1e6:.1f}"
            for name in ("read_bytes", "kept_bytes", "peak_bytes")
        ]
        found = f"{sum(one.right for one in hidden)} of {len(hidden)}" if hidden else ""
        texts = f"{len({one.text for one in read})}"
        made.add_row(way, f"{budget:,}" if budget else "all", *levels, perplexity(read), texts, found, *held)
    return made


def perplexity(results: Sequence[Outcome]) -> str:
    """Of all of them together, as shown; nothing if there are none."""
    return f"{exp(mean(one.nats for one in results)):.3f}" if results else ""
