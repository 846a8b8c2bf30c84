"""explain_page(): what was explained as one HTML page that needs nothing else."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from memstack.contract.errors import printable
from memstack.contract.metrics import perplexity
from memstack_models.data.tokenizer import Tokenizer
from memstack_models.evaluation.explained import Explained
from memstack_models.report.explain.colours import ON_DARK, ON_LIGHT, STEPS
from memstack_models.report.style import DARK, LIGHT

TEMPLATES = Path(__file__).parents[1] / "templates"
OWN = ("explain.css", "explain_text.js", "explain_panel.js")
BLOCK = 512
"""Tokens whose retrievals are decoded at once, when the first of them is looked at."""
LISTED = 40
"""Tokens in each list."""


@dataclass(frozen=True)
class About:
    """What a page says of how it was made."""

    checkpoint: str
    memory: str
    neighbours: int
    segment: int
    cache: int
    layers: Sequence[int]
    heads: int
    """Of each layer."""


def explain_page(explained: Explained, tokenizer: Tokenizer, about: About) -> str:
    """Return the page. No byte of the text is in it but in base64: nothing in it can be taken for a part of the page.

    It holds every token with both losses, and of each head the share of the memory and the heaviest entries; it draws
    what is looked at, and fetches nothing, which its own policy forbids.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    css, *js = (Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in OWN)
    used, ids = np.unique(explained.tokens, return_inverse=True)
    return environment.get_template("explain.html.j2").render(
        css=css,
        js=Markup("\n").join(js),
        about=about,
        kept=explained.kept.entries,
        tiles=_tiles(explained),
        names=[printable(name) for name in explained.names],
        steps=STEPS,
        themes=[("light", LIGHT, ON_LIGHT), ("dark", DARK, ON_DARK)],
        meta=_base64(json.dumps(_meta(explained, tokenizer, used, about)).encode()),
        ids=_base64(ids.astype("<u4").tobytes()),
        off=_base64(explained.off.astype("<f4").tobytes()),
        on=_base64(explained.on.astype("<f4").tobytes()),
        blocks=Markup("\n").join(_blocks(explained)),
    )


def _tiles(explained: Explained) -> list[tuple[str, str]]:
    """The numbers at the top: what they are, and what they count."""
    predicted = np.ones(len(explained.tokens), dtype=bool)
    predicted[explained.starts[:-1]] = False
    off, on, gain = (each[predicted] for each in (explained.off, explained.on, explained.gain))
    without, within = (perplexity(float(each.sum(dtype=np.float64)), len(each)) for each in (off, on))
    return [
        (f"{within:.2f}", f"perplexity with memory, {without:.2f} without"),
        (f"{100 * (within / without - 1):+.0f} %".replace("-", "\u2212"), "perplexity, by memory"),
        (f"{100 * (gain >= STEPS[0]).mean():.0f} %", f"of {len(gain):,} tokens saved {STEPS[0]} nats or more"),
        (f"{100 * (gain <= -STEPS[0]).mean():.0f} %", "cost as much more"),
    ]


def _meta(explained: Explained, tokenizer: Tokenizer, used: np.ndarray, about: About) -> dict[str, object]:
    """What the page's script reads first; its ``vocabulary`` has a character for each byte."""
    return {
        "names": [printable(name) for name in explained.names],
        "starts": explained.starts,
        "vocabulary": [tokenizer.bytes_of(int(token)).decode("latin-1") for token in used],
        "layers": list(about.layers),
        "heads": about.heads,
        "kept": explained.kept.entries,
        "wide": explained.kept.wide,
        "block": BLOCK,
        "steps": STEPS,
        "gained": explained.most(LISTED, 1).tolist(),
        "lost": explained.most(LISTED, -1).tolist(),
    }


def _blocks(explained: Explained) -> Iterator[Markup]:
    """Of some tokens each: all shares, then all distances, low byte first, then all weights."""
    for start in range(0, len(explained.tokens), BLOCK):
        here = slice(start, start + BLOCK)
        back = explained.back[here].astype("<u4" if explained.kept.wide else "<u2")
        parts = explained.shares[here], back, explained.weights[here]
        yield _base64(b"".join(part.tobytes() for part in parts))


def _base64(content: bytes) -> Markup:
    return Markup(base64.b64encode(content).decode())
