"""Plugins -> specs -> classes -> memories. pluggy discovers; it is never in the hot path."""

import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pluggy
import torch
from pydantic import ValidationError

from memstack import hookspecs
from memstack.backend import BackendOptions, BackendSpec, CommandSpec, import_target
from memstack.errors import (
    BackendUnavailableError,
    DuplicateBackendError,
    DuplicateCommandError,
    OptionsError,
    UnknownBackendError,
    did_you_mean,
)
from memstack.memory import Memory, MemoryShape
from memstack.validation import first_problem

Spec = TypeVar("Spec", BackendSpec, CommandSpec)


@dataclass(frozen=True)
class Offer:
    """A backend together with the plugin that offers it."""

    spec: BackendSpec
    plugin: str
    distribution: str
    """Name and version of the installed distribution, such as ``memstack 0.1.0``; empty if registered by hand."""


class Registry:
    """All backends and commands of all plugins."""

    def __init__(self) -> None:
        self._plugins = pluggy.PluginManager(hookspecs.PROJECT)
        self._plugins.add_hookspecs(hookspecs)
        self._distributions: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        """Plugins that could not be loaded, with the reason. They take nothing else down."""

    def discover(self) -> "Registry":
        """Load every plugin of the entry-point group ``memstack``."""
        for entry in sorted(importlib.metadata.entry_points(group=hookspecs.PROJECT), key=lambda entry: entry.name):
            origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""
            try:
                self.register(entry.load(), entry.name, origin)
            except Exception as error:  # noqa: BLE001 - a stranger's module may fail in any way; it is reported, by name
                self.broken[entry.name] = f"{entry.value}: {type(error).__name__}: {error}"
        return self

    def register(self, plugin: object, name: str, distribution: str = "") -> None:
        """Add a plugin: a module or an object with ``@memstack.hookimpl`` methods."""
        # Noted first: pluggy before 1.7 keeps the hooks that it took before it refused one.
        self._distributions[name] = distribution
        self._plugins.register(plugin, name)

    def offers(self) -> tuple[Offer, ...]:
        """Return every backend offered, sorted by name."""
        found = [
            Offer(spec, plugin, self._distributions[plugin])
            for plugin, spec in self._collect("memstack_backends", BackendSpec)
        ]
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
        found = [
            (plugin, spec) for plugin, spec in self._collect("memstack_commands", CommandSpec) if spec.name == name
        ]
        if len(found) > 1:
            first, second = found[0][0], found[1][0]
            raise DuplicateCommandError(
                f"command {name!r} is offered by both plugin {first!r} and plugin {second!r}; rename one of them"
            )
        return found[0][1] if found else None

    def spec(self, name: str) -> BackendSpec:
        """Return the backend of that name; UnknownBackendError or DuplicateBackendError if there is not just one."""
        offers = self.offers()
        found = [offer for offer in offers if offer.spec.name == name]
        if not found:
            names = [offer.spec.name for offer in offers]
            broken = "".join(f"; plugin {plugin!r} is broken: {why}" for plugin, why in self.broken.items())
            hint = did_you_mean(name, names)
            raise UnknownBackendError(
                f"no memory backend is called {name!r}{hint} (registered: {', '.join(names)}){broken}"
            )
        if len(found) > 1:
            first, second = found[0].plugin, found[1].plugin
            raise DuplicateBackendError(
                f"backend {name!r} is offered by both plugin {first!r} and plugin {second!r}; rename one of them"
            )
        return found[0].spec

    def backend_class(self, name: str) -> type[Memory]:
        """Import the class of a backend; BackendUnavailableError, with the pip line, if a library is missing."""
        spec = self.spec(name)
        if missing := spec.missing():
            raise BackendUnavailableError(f"backend {name!r} needs {', '.join(missing)}: {spec.pip_line}")
        return import_target(spec.target)

    def options(self, name: str, options: Mapping[str, Any]) -> BackendOptions:
        """Validate options against the backend's own ``Options``; OptionsError names the nearest known key."""
        model: type[BackendOptions] = getattr(self.backend_class(name), "Options", BackendOptions)
        try:
            return model.model_validate(dict(options))
        except ValidationError as error:
            raise OptionsError(f"backend {name!r}: {first_problem(error, model)}") from None

    def create(self, name: str, shape: MemoryShape, **options: Any) -> Memory:
        """Build a memory of that backend."""
        checked = self.options(name, options)
        # The contract leaves constructors alone: a backend's takes a shape and its own Options.
        build: Callable[[MemoryShape, BackendOptions], Memory] = cast(Any, self.backend_class(name))
        # Buffers made in inference mode could never be written outside it.
        with torch.inference_mode(False):
            return build(shape, checked)

    def _collect(self, hook: str, kind: type[Spec]) -> list[tuple[str, Spec]]:
        """Call one hook plugin by plugin: one that raises or returns nonsense is reported and harms no other."""
        found: list[tuple[str, Spec]] = []
        for implementation in getattr(self._plugins.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            try:
                specs: Sequence[Any] = implementation.function()
                if wrong := [spec for spec in specs if not isinstance(spec, kind)]:
                    raise TypeError(f"it should return {kind.__name__}s, got {wrong[0]!r}")
                found += [(name, spec) for spec in specs]
            except Exception as error:  # noqa: BLE001 - as in discover()
                self.broken[name] = f"{hook}: {type(error).__name__}: {error}"
        return found


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
