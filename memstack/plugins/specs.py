"""What a plugin says about its parts: records that can be listed without importing anything, and their options."""

import importlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from memstack.plugins.config import Frozen
from memstack.plugins.distributions import providers


class BackendOptions(Frozen):
    """Base of a backend's nested ``Options``: frozen, and every key it does not name is refused."""


class CorpusOptions(Frozen):
    """Base of a corpus's nested ``Options``: frozen, and every key it does not name is refused."""


@dataclass(frozen=True, kw_only=True)
class LibrarySpec:
    """What the records of backends and corpora share: a class that is imported late, and the libraries it needs."""

    name: str
    target: str
    """Where the class is, as ``"package.module:Class"``."""
    summary: str
    requires: tuple[str, ...] = ()
    """Import names of the libraries the target needs."""
    install: str = ""
    """What pip should install when one of them is missing."""
    test_options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Options that the conformance kit tests with; of a backend, small enough that a trained or rebuilt path runs."""

    def __post_init__(self) -> None:
        _expect_texts(self.name, self.target, self.summary)
        if isinstance(self.requires, str):
            raise TypeError(f"requires should be a tuple of import names, got {self.requires!r}")

    @property
    def pip_line(self) -> str:
        """The command that installs what is missing."""
        return f"pip install '{self.install or ' '.join(self.missing())}'"

    def missing(self) -> tuple[str, ...]:
        """Return the required libraries that are not installed."""
        return tuple(name for name in self.requires if not _installed(name))

    def installed(self) -> tuple[str, ...]:
        """Return the required libraries that are installed, by distribution and version, such as ``faiss-cpu 1.9.0``.

        None of them is imported. A library that no installed distribution claims is called by its import name alone.
        """
        missing = self.missing()
        packages = [name.partition(".")[0] for name in self.requires if name not in missing]
        return tuple(described for package in packages for described in providers(package))


@dataclass(frozen=True, kw_only=True)
class BackendSpec(LibrarySpec):
    """One memory backend as data. Listing specs imports no search library; creating a memory imports ``target``."""

    exact: bool = False
    """True if search finds the true nearest neighbours."""
    devices: tuple[str, ...] = ("cpu",)
    """Device types on which the search can run."""
    needs_training: bool = False
    """True if the index is trained on stored keys."""
    needs_options: bool = False
    """True if it cannot be made by its name alone, for it has to be told where, say: what tries every backend leaves it
    out, and ``memstack check`` measures it with its ``test_options``."""
    keeps: bool = False
    """True if a store of its can outlive the process that fills it: it has options ``url``, of a server, and ``path``,
    of a folder instead, and ``kept``, the name by which one is found again, and writes ``RemoteMemory.notes``."""
    recall_floor: float = 1.0
    """The recall that the conformance kit may demand on clustered keys, as a fraction of the true neighbours."""
    search_space: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])
    """The option that trades accuracy for time, with the values worth trying, the least accurate first; an option with
    a single value is set along with it. ``memstack report`` and ``memstack tune`` try every combination."""
    yardstick: bool = False
    """True if ``memstack check`` measures it beside any other backend, for comparison."""

    def settings(self) -> list[dict[str, Any]]:
        """Return the options of every setting of the search space, in its order; without one, the defaults."""
        return [
            dict(zip(self.search_space, values, strict=True))
            for values in itertools.product(*self.search_space.values())
        ]


@dataclass(frozen=True, kw_only=True)
class CorpusSpec(LibrarySpec):
    """One corpus as data. Listing specs imports nothing and reads no text; creating a corpus imports ``target``."""

    source: str
    """Where the documents come from: a data set's address, or what on this machine holds them."""
    licence: str
    """What the texts may be used under, such as ``CC-BY-4.0``, or who can say."""


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """One command line verb as data; ``target`` is imported when the command is run."""

    name: str
    target: str
    """Where the typer function is, as ``"package.module:function"``."""
    summary: str
    examples: tuple[str, ...] = ()
    """Command lines that help shows below the options."""

    def __post_init__(self) -> None:
        _expect_texts(self.name, self.target, self.summary)


def _expect_texts(name: object, target: object, summary: object) -> None:
    """TypeError, in the plugin that made such a record, before it is sorted and shown among all others."""
    if not all(isinstance(each, str) for each in (name, target, summary)):
        raise TypeError(f"name, target and summary of a record should be texts, got {name!r}, {target!r}, {summary!r}")


def _installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - what should hold it is missing, half removed, or fails in a way of its own
        return False


def import_target(target: str) -> Any:
    """Import ``"package.module:name"``."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
