"""``memstack backends``: what is registered, what is wrong with it, how to get it."""

from collections.abc import Sequence
from typing import Any

import pytest
from helpers.command_line import Run, listed, version_of

from memstack import BackendSpec, hookimpl
from memstack.cli import backends
from memstack.plugins.registry import Registry


class Plugin:
    """A stranger's plugin that offers whatever it was given."""

    def __init__(self, *offered: Any) -> None:
        self.offered = offered

    @hookimpl
    def memstack_backends(self) -> Sequence[Any]:
        return self.offered


def test_backends_are_listed_with_what_they_can_do(memstack: Run) -> None:
    code, out, _ = memstack("backends")
    assert code == 0
    memstack_itself = version_of("memstack")
    assert listed(out, "exact") == f"exact exact no cpu cuda mps xpu none needed exact, {memstack_itself}"
    assert listed(out, "hnsw") == f"hnsw approximate no cpu {version_of('hnswlib')} hnsw, {memstack_itself}"


def test_a_listing_says_what_must_be_trained_and_who_brings_the_library(
    memstack: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is known by its distribution, not by its import name."""
    spec = BackendSpec(name="trees", target="t:T", summary="", needs_training=True, requires=("_pytest", "pluggy"))
    plugins = Registry()
    plugins.register(Plugin(spec), "forest", "woods 2.1")
    monkeypatch.setattr(backends, "registry", lambda: plugins)
    _, out, _ = memstack("backends")
    libraries = f"{version_of('pytest')}, {version_of('pluggy')}"
    assert listed(out, "trees") == f"trees approximate yes cpu {libraries} forest, woods 2.1"


def test_a_listing_tells_what_is_wrong_with_plugins_and_goes_on(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on stderr for a plugin that cannot say what it offers, one for a name that two plugins offer."""
    spec = BackendSpec(name="trees", target="t:T", summary="finds")
    plugins = Registry()
    plugins.register(Plugin(spec), "forest", "woods 2.1")
    plugins.register(Plugin(spec), "orchard", "apples 3.0")
    plugins.register(Plugin("no spec"), "desert", "sand 0.1")
    monkeypatch.setattr(backends, "registry", lambda: plugins)
    code, out, err = memstack("backends")
    assert code == 0
    assert "forest, woods 2.1" in out
    assert "orchard, apples 3.0" in out
    broken, twice = err.splitlines()
    assert "desert" in broken
    assert all(word in twice for word in ("'trees'", "forest", "orchard"))


def test_a_missing_librarys_pip_line_is_printed_whole(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra's name stands in brackets, which a formatter of text might take for its own."""
    monkeypatch.setattr("memstack.BackendSpec.missing", lambda self: self.requires)
    _, out, _ = memstack("backends")
    assert "to install: pip install 'memstack[hnsw]'" in out
    assert "hnswlib is missing" in listed(out, "hnsw")
