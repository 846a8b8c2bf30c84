"""The colours of backends: told apart by people who see fewer, on white and on black; marks and lines as well."""

from itertools import combinations

import pytest
from helpers.colour_vision import VISIONS, contrast, nearest
from memstack_models.report.style import COLOURS, DARK, LIGHT, series_styles

from memstack.plugins.registry import registry

APART = 15.0
"""In CIELAB, of any two colours, for whoever sees them; some 2 can just be told side by side."""


def test_there_are_colours_for_ten_backends_beside_the_exact_one() -> None:
    assert len(set(COLOURS)) >= 10
    styles = series_styles(["exact", *(f"backend {i}" for i in range(10))], LIGHT.ink)
    assert len({style.colour for style in styles.values()}) == 11


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_colours_are_told_apart_whoever_looks(vision: str) -> None:
    for theme in (LIGHT, DARK):
        assert nearest([theme.ink, *COLOURS], vision) >= APART


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_stands_out_on_white_and_on_the_dark_page(colour: str) -> None:
    assert contrast(colour, LIGHT.paper) >= 3
    assert contrast(colour, DARK.paper) >= 3


def test_two_backends_never_share_mark_and_line() -> None:
    styles = series_styles(["exact", *(f"backend {i}" for i in range(24))], LIGHT.ink)
    for one, other in combinations(styles.values(), 2):
        assert (one.colour, one.mark) != (other.colour, other.mark)
    first = list(styles.values())[:11]
    assert len({(style.mark, str(style.line)) for style in first}) == len(first)


def test_a_backend_keeps_its_colour_whoever_else_is_there() -> None:
    bundled = [spec.name for spec in registry().specs() if not spec.needs_options]  # which a report leaves out
    names = ["exact", *(name for name in bundled if name != "exact")]
    alone = {name: series_styles(["exact", name], "black")[name] for name in names[1:]}
    together = series_styles(names, "black")
    assert {name: together[name] for name in alone} == alone
    assert len({look.colour for look in together.values()}) == len(names)
    many = series_styles([str(i) for i in range(20)], "black")
    assert len(many) == 20
