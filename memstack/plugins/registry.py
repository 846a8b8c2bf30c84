"""Plugins -> specs -> classes -> memories. pluggy discovers; it is never in the hot path."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy
from pydantic import ValidationError

from memstack.contract.errors import (
    BackendUnavailableError,
    DuplicateBackendError,
    DuplicateCommandError,
    OptionsError,
    UnknownBackendError,
    did_you_mean,
    in_one_line,
)
from memstack.plugins import hookspecs
from memstack.plugins.config import first_problem
from memstack.plugins.specs import BackendOptions, BackendSpec, CommandSpec, import_target

if TYPE_CHECKING:
    import torch

    from memstack.contract.memory import Memory
    from memstack.contract.shape import MemoryShape

Spec = TypeVar("Spec", BackendSpec, CommandSpec)


@dataclass(frozen=True)
class Source:
    """Where a plugin comes from."""

    name: str
    """Its entry point's."""
    distribution: str
    """Name and version of the installed distribution, such as ``memstack 0.1.0``; empty if registered by hand."""

    @property
    def key(self) -> str:
        """The plugin's name for pluggy. Two distributions may choose one entry point name, and both should be seen."""
        return f"{self.name} of {self.distribution}" if self.distribution else self.name

    def __str__(self) -> str:
        return f"plugin {self.name!r}" + (f" of {self.distribution}" if self.distribution else "")


@dataclass(frozen=True)
class Offer:
    """A backend together with the plugin that offers it."""

    spec: BackendSpec
    source: Source

    @property
    def plugin(self) -> str:
        """The name of the plugin's entry point."""
        return self.source.name

    @property
    def distribution(self) -> str:
        """Name and version of the plugin's distribution; empty if registered by hand."""
        return self.source.distribution


class Registry:
    """All backends and commands of all plugins."""

    def __init__(self) -> None:
        self._plugins = pluggy.PluginManager(hookspecs.PROJECT)
        self._plugins.add_hookspecs(hookspecs)
        self._sources: dict[str, Source] = {}
        self.broken: dict[str, str] = {}
        """Plugins that could not be loaded, with the reason in one line. They take nothing else down."""

    def discover(self) -> Registry:
        """Load every plugin of the entry-point group ``memstack``."""
        for entry in sorted(importlib.metadata.entry_points(group=hookspecs.PROJECT), key=lambda entry: entry.name):
            source = Source(entry.name, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "")
            try:
                self.register(entry.load(), source.name, source.distribution)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's module may fail in any way
                self._sources[source.key] = source
                self.broken[source.key] = f"{entry.value}: {in_one_line(error)}"
        return self

    def register(self, plugin: object, name: str, distribution: str = "") -> None:
        """Add a plugin: a module or an object with ``@memstack.hookimpl`` methods."""
        source = Source(name, distribution)
        # Noted first: pluggy before 1.7 keeps the hooks that it took before it refused one.
        self._sources[source.key] = source
        self._plugins.register(plugin, source.key)

    def offers(self) -> tuple[Offer, ...]:
        """Return every backend offered, sorted by name."""
        found = [Offer(spec, source) for source, spec in self._collect("memstack_backends", BackendSpec)]
        return tuple(sorted(found, key=lambda offer: offer.spec.name))

    def specs(self) -> tuple[BackendSpec, ...]:
        """Return the specs of every backend offered, sorted by name."""
        return tuple(offer.spec for offer in self.offers())

    def commands(self) -> tuple[CommandSpec, ...]:
        """Return every command offered, sorted by name."""
        return tuple(
            sorted((spec for _, spec in self._collect("memstack_commands", CommandSpec)), key=lambda spec: spec.name)
        )

    def command(self, name: str) -> CommandSpec | None:
        """Return the command of that name, or None; DuplicateCommandError if two plugins offer it."""
        found = [each for each in self._collect("memstack_commands", CommandSpec) if each[1].name == name]
        if len(found) > 1:
            raise DuplicateCommandError(_offered_twice("command", name, [source for source, _ in found]))
        return found[0][1] if found else None

    def spec(self, name: str) -> BackendSpec:
        """Return the backend of that name; UnknownBackendError or DuplicateBackendError if there is not just one."""
        offers = self.offers()
        found = [offer for offer in offers if offer.spec.name == name]
        if not found:
            names = [offer.spec.name for offer in offers]
            broken = "".join(f"; {problem}" for problem in self._broken())
            hint = did_you_mean(name, names)
            raise UnknownBackendError(
                f"no memory backend is called {name!r}{hint} (registered: {', '.join(names)}){broken}"
            )
        if len(found) > 1:
            raise DuplicateBackendError(_offered_twice("backend", name, [offer.source for offer in found]))
        return found[0].spec

    def backend_class(self, name: str) -> type[Memory]:
        """Import the class of a backend; BackendUnavailableError, with the pip line, if a library is missing."""
        spec = self.spec(name)
        if missing := spec.missing():
            raise BackendUnavailableError(f"backend {name!r} needs {', '.join(missing)}: {spec.pip_line}")
        try:
            return import_target(spec.target)
        except (Exception, SystemExit) as error:
            why = f"cannot be imported from {spec.target}: {in_one_line(error)}"
            raise BackendUnavailableError(f"backend {name!r} {why}") from error

    def options(self, name: str, options: Mapping[str, Any]) -> BackendOptions:
        """Validate options against the backend's own ``Options``; OptionsError names the nearest known key."""
        model: type[BackendOptions] = getattr(self.backend_class(name), "Options", BackendOptions)
        try:
            return model.model_validate(dict(options))
        except ValidationError as error:
            raise OptionsError(f"backend {name!r}: {first_problem(error, model)}") from None

    def place_options(self, name: str, options: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
        """Return the options with the store on this device, unless they say where it is or the search cannot run there.

        Options that the backend refuses are an OptionsError.
        """
        known = self.options(name, options)
        can = device.type in self.spec(name).devices and "device" in type(known).model_fields
        return ({"device": str(device)} if can else {}) | dict(options)

    def create(self, name: str, shape: MemoryShape, **options: Any) -> Memory:
        """Build a memory of that backend."""
        import torch  # here, for listing what there is does without

        checked = self.options(name, options)
        # The contract leaves constructors alone: a backend's takes a shape and its own Options.
        build: Callable[[MemoryShape, BackendOptions], Memory] = cast(Any, self.backend_class(name))
        # Buffers made in inference mode could never be written outside it.
        with torch.inference_mode(False):
            return build(shape, checked)

    def problems(self) -> tuple[str, ...]:
        """Return one line for every plugin that is broken, and for every backend and command offered more than once."""
        backends = self._collect("memstack_backends", BackendSpec)
        commands = self._collect("memstack_commands", CommandSpec)
        return (*self._broken(), *_doubled("backend", backends), *_doubled("command", commands))

    def _broken(self) -> list[str]:
        return [f"{self._sources[key]} is broken: {reason}" for key, reason in self.broken.items()]

    def _collect(self, hook: str, kind: type[Spec]) -> list[tuple[Source, Spec]]:
        """Call one hook plugin by plugin: one that raises or returns nonsense is reported and harms no other."""
        found: list[tuple[Source, Spec]] = []
        for implementation in getattr(self._plugins.hook, hook).get_hookimpls():
            source = self._sources[implementation.plugin_name]
            try:
                specs: list[Any] = list(implementation.function())
                if wrong := [spec for spec in specs if not isinstance(spec, kind)]:
                    raise TypeError(f"it should return {kind.__name__}s, got {wrong[0]!r}")
                found += [(source, spec) for spec in specs]
            except (Exception, SystemExit) as error:  # noqa: BLE001 - as in discover()
                self.broken[source.key] = f"{hook}: {in_one_line(error)}"
        return found


def _doubled(kind: str, offered: Sequence[tuple[Source, BackendSpec | CommandSpec]]) -> Iterator[str]:
    """One line for every name that is offered more than once."""
    sources: dict[str, list[Source]] = {}
    for source, spec in sorted(offered, key=lambda each: each[1].name):
        sources.setdefault(spec.name, []).append(source)
    return (_offered_twice(kind, name, found) for name, found in sources.items() if len(found) > 1)


def _offered_twice(kind: str, name: str, sources: Sequence[Source]) -> str:
    return f"{kind} {name!r} is offered by both {' and '.join(map(str, sources))}; rename or uninstall one of them"


@functools.cache
def registry() -> Registry:
    """Return the registry of this process: all installed plugins."""
    return Registry().discover()


def backends() -> tuple[BackendSpec, ...]:
    """Return the specs of all registered memory backends, sorted by name; imports no search library."""
    return registry().specs()


def create_memory(backend: str, shape: MemoryShape, **options: Any) -> Memory:
    """Build the memory that a backend of this name offers.

    ``options`` are the fields of the backend's ``Options``. Raises UnknownBackendError, BackendUnavailableError or
    OptionsError, each naming the mend.
    """
    return registry().create(backend, shape, **options)
