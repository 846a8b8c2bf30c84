"""The colours of a token: how much memory saves, or costs, in steps that everybody tells apart."""

from dataclasses import dataclass

STEPS = (0.1, 0.5, 1.5, 3.0)
"""Nats from which on a token has the next colour; below the first it has none."""


@dataclass(frozen=True)
class Diverging:
    """A colour for each step, the weakest first; text in the page's ink is read on each."""

    saves: tuple[str, ...]
    costs: tuple[str, ...]


# Blue against orange, which people who see fewer colours tell apart: tests/models/report/test_explain_page.py.
ON_LIGHT = Diverging(("#dbeafd", "#afd0f8", "#7db3f2", "#4f97ea"), ("#fdead4", "#fccb93", "#f4a851", "#e08a1b"))
ON_DARK = Diverging(("#12283f", "#173f6b", "#1b5694", "#1f6bbb"), ("#36240d", "#573811", "#784b11", "#955b10"))
