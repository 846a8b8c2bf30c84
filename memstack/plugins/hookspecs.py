"""The three hooks a plugin may implement; pluggy finds it through the entry-point group ``memstack``."""

from collections.abc import Sequence

import pluggy

from memstack.plugins.specs import BackendSpec, CommandSpec, CorpusSpec

PROJECT = "memstack"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def memstack_backends() -> Sequence[BackendSpec]:  # type: ignore[empty-body]
    """Return the memory backends this plugin offers."""


@hookspec
def memstack_commands() -> Sequence[CommandSpec]:  # type: ignore[empty-body]
    """Return the commands this plugin adds to ``memstack``."""


@hookspec
def memstack_corpora() -> Sequence[CorpusSpec]:  # type: ignore[empty-body]
    """Return the corpora this plugin offers."""
