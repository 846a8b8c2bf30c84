"""What a backend says about itself: a record that can be listed without importing anything, and its options."""

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from memstack.config import Frozen


class BackendOptions(Frozen):
    """Base of a backend's nested ``Options``: frozen, and every key it does not name is refused."""


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """One memory backend as data. Listing specs imports no search library; creating a memory imports ``target``."""

    name: str
    target: str
    """Where the class is, as ``"package.module:Class"``."""
    summary: str
    requires: tuple[str, ...] = ()
    """Import names of the libraries the target needs."""
    install: str = ""
    """What pip should install when one of them is missing."""
    exact: bool = False
    """True if search finds the true nearest neighbours."""
    devices: tuple[str, ...] = ("cpu",)
    """Device types on which the search can run."""
    needs_training: bool = False
    """True if the index is trained on stored keys."""
    recall_floor: float = 1.0
    """The recall that the conformance kit may demand on clustered keys, as a fraction of the true neighbours."""
    test_options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Options small enough that a trained or rebuilt path really runs in tests."""

    @property
    def pip_line(self) -> str:
        """The command that installs what is missing."""
        return f"pip install '{self.install or ' '.join(self.missing())}'"

    def missing(self) -> tuple[str, ...]:
        """Return the required libraries that are not installed."""
        return tuple(name for name in self.requires if importlib.util.find_spec(name) is None)


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """One command line verb as data; ``target`` is imported when the command is run."""

    name: str
    target: str
    """Where the typer function is, as ``"package.module:function"``."""
    summary: str


def import_target(target: str) -> Any:
    """Import ``"package.module:name"``."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
