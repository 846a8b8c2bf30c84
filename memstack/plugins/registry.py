"""Plugins -> specs -> classes -> memories and corpora. pluggy discovers; it is never in the hot path."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import pluggy

from memstack.contract.corpus import Corpus
from memstack.contract.errors import DuplicateCommandError, in_one_line
from memstack.plugins import hookspecs, secrets
from memstack.plugins.distributions import plugin_entries
from memstack.plugins.guests import guest
from memstack.plugins.lookup import (
    BACKEND,
    CORPUS,
    Offer,
    Source,
    Spec,
    checked,
    doubled,
    load_target,
    offered_twice,
    only,
)
from memstack.plugins.room import refuse_too_large, too_large
from memstack.plugins.specs import BackendOptions, BackendSpec, CommandSpec, CorpusOptions, CorpusSpec

if TYPE_CHECKING:
    import torch

    from memstack.contract.memory import Memory
    from memstack.contract.shape import MemoryShape


class Registry:
    """All backends, corpora and commands of all plugins."""

    def __init__(self) -> None:
        self._plugins = pluggy.PluginManager(hookspecs.PROJECT)
        self._plugins.add_hookspecs(hookspecs)
        self._sources: dict[str, Source] = {}
        self.broken: dict[str, str] = {}
        """Plugins that could not be loaded, with the reason in one line. They take nothing else down."""

    def discover(self) -> Registry:
        """Load every plugin of the entry-point group ``memstack``."""
        entries, unreadable = plugin_entries(hookspecs.PROJECT)
        for entry, distribution in entries:
            source = Source(entry.name, distribution)
            with guest(functools.partial(self._note, source, entry.value)):
                self.register(entry.load(), source.name, source.distribution)
        for distribution, reason in unreadable.items():
            self._note(Source("", distribution), reason)
        return self

    def register(self, plugin: object, name: str, distribution: str = "") -> None:
        """Add a plugin: a module or an object with ``@memstack.hookimpl`` methods."""
        source = Source(name, distribution)
        # Noted first: pluggy before 1.7 keeps the hooks that it took before it refused one.
        self._sources[source.key] = source
        self._plugins.register(plugin, source.key)

    def offers(self) -> tuple[Offer[BackendSpec], ...]:
        """Return every backend offered, sorted by name."""
        return self._sorted("memstack_backends", BackendSpec)

    def corpus_offers(self) -> tuple[Offer[CorpusSpec], ...]:
        """Return every corpus offered, sorted by name."""
        return self._sorted("memstack_corpora", CorpusSpec)

    def specs(self) -> tuple[BackendSpec, ...]:
        """Return the specs of every backend offered, sorted by name."""
        return tuple(offer.spec for offer in self.offers())

    def corpora(self) -> tuple[CorpusSpec, ...]:
        """Return the specs of every corpus offered, sorted by name."""
        return tuple(offer.spec for offer in self.corpus_offers())

    def commands(self) -> tuple[CommandSpec, ...]:
        """Return every command offered, sorted by name."""
        return tuple(offer.spec for offer in self._sorted("memstack_commands", CommandSpec))

    def command(self, name: str) -> CommandSpec | None:
        """Return the command of that name, or None; DuplicateCommandError if two plugins offer it."""
        found = [each for each in self._collect("memstack_commands", CommandSpec) if each.spec.name == name]
        if len(found) > 1:
            raise DuplicateCommandError(offered_twice("command", name, [each.source for each in found]))
        return found[0].spec if found else None

    def spec(self, name: str) -> BackendSpec:
        """Return the backend of that name; UnknownBackendError or DuplicateBackendError if there is not just one."""
        offers = self.offers()
        return only(BACKEND, offers, name, self._broken())

    def corpus_spec(self, name: str) -> CorpusSpec:
        """Return the corpus of that name; UnknownCorpusError or DuplicateCorpusError if there is not just one."""
        offers = self.corpus_offers()
        return only(CORPUS, offers, name, self._broken())

    def backend_class(self, name: str) -> type[Memory]:
        """Import the class of a backend; BackendUnavailableError, with the pip line, if a library is missing."""
        return load_target(BACKEND, self.spec(name))

    def corpus_class(self, name: str) -> type[Corpus]:
        """Import the class of a corpus; CorpusUnavailableError, with the pip line, if a library is missing."""
        return load_target(CORPUS, self.corpus_spec(name))

    def options(self, name: str, options: Mapping[str, Any]) -> BackendOptions:
        """Validate options against the backend's own ``Options``; OptionsError names the nearest known key.

        A secret that is not among them is taken from its environment variable.
        """
        model = self._options_class(name)
        given = secrets.from_environment(name, model) | secrets.sealed(options, model)
        return checked(BACKEND, name, model, given)

    def sealed(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options with the backend's secrets sealed: they are neither printed nor written from then on."""
        return secrets.sealed(options, self._options_class(name))

    def corpus_options(self, name: str, options: Mapping[str, Any]) -> CorpusOptions:
        """Validate options against the corpus's own ``Options``; OptionsError names the nearest known key."""
        model: type[CorpusOptions] = getattr(self.corpus_class(name), "Options", CorpusOptions)
        return checked(CORPUS, name, model, options)

    def place_options(self, name: str, options: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
        """Return the options with the store on this device, unless they say where it is or the search cannot run there.

        Options that the backend refuses are an OptionsError.
        """
        known = self.options(name, options)
        can = device.type in self.spec(name).devices and "device" in type(known).model_fields
        return ({"device": str(device)} if can else {}) | dict(options)

    def index_bytes(self, name: str, shape: MemoryShape, options: BackendOptions) -> int | None:
        """Return what a backend keeps beside keys and values when its memories are full; None where it does not say."""
        says = getattr(self.backend_class(name), "index_bytes", None)
        return None if says is None else says(shape, options)

    def create(self, name: str, shape: MemoryShape, **options: Any) -> Memory:
        """Build a memory of that backend."""
        import torch  # here, for listing what there is does without

        given = self.options(name, options)
        # The contract leaves constructors alone: a backend's takes a shape and its own Options.
        build: Callable[[MemoryShape, BackendOptions], Memory] = cast(Any, self.backend_class(name))
        refuse_too_large(shape, given)
        # Buffers made in inference mode could never be written outside it.
        with torch.inference_mode(False):
            try:
                return build(shape, given)
            except MemoryError as error:
                raise too_large(shape, in_one_line(error)) from error

    def create_corpus(self, name: str, **options: Any) -> Corpus:
        """Build a corpus."""
        given = self.corpus_options(name, options)
        # As of memories: a corpus is built with its own Options.
        build: Callable[[CorpusOptions], Corpus] = cast(Any, self.corpus_class(name))
        return build(given)

    def problems(self) -> tuple[str, ...]:
        """Return one line for every plugin that is broken, and for all that is offered more than once."""
        backends = self._collect("memstack_backends", BackendSpec)
        corpora = self._collect("memstack_corpora", CorpusSpec)
        commands = self._collect("memstack_commands", CommandSpec)
        twice = (*doubled("backend", backends), *doubled("corpus", corpora), *doubled("command", commands))
        return (*self._broken(), *twice)

    def _options_class(self, name: str) -> type[BackendOptions]:
        return getattr(self.backend_class(name), "Options", BackendOptions)

    def _broken(self) -> list[str]:
        return [f"{self._sources[key]} is broken: {reason}" for key, reason in self.broken.items()]

    def _sorted(self, hook: str, kind: type[Spec]) -> tuple[Offer[Spec], ...]:
        return tuple(sorted(self._collect(hook, kind), key=lambda offer: offer.spec.name))

    def _collect(self, hook: str, kind: type[Spec]) -> list[Offer[Spec]]:
        """Call one hook plugin by plugin: one that raises or returns nonsense is reported and harms no other."""
        found: list[Offer[Spec]] = []
        for implementation in getattr(self._plugins.hook, hook).get_hookimpls():
            source = self._sources[implementation.plugin_name]
            with guest(functools.partial(self._note, source, hook)):
                specs: list[Any] = list(implementation.function())
                if wrong := [spec for spec in specs if not isinstance(spec, kind)]:
                    raise TypeError(f"it should return {kind.__name__}s, got {wrong[0]!r}")
                found += [Offer(spec, source) for spec in specs]
        return found

    def _note(self, source: Source, what: str, error: BaseException | None = None) -> None:
        """Write down that a plugin is broken: what of it, and how that failed."""
        self._sources[source.key] = source
        self.broken[source.key] = what if error is None else f"{what}: {in_one_line(error)}"


@functools.cache
def registry() -> Registry:
    """Return the registry of this process: all installed plugins."""
    return Registry().discover()


def backends() -> tuple[BackendSpec, ...]:
    """Return the specs of all registered memory backends, sorted by name; imports no search library."""
    return registry().specs()


def corpora() -> tuple[CorpusSpec, ...]:
    """Return the specs of all registered corpora, sorted by name; imports none and reads no text."""
    return registry().corpora()


def create_memory(backend: str, shape: MemoryShape, **options: Any) -> Memory:
    """Build the memory that a backend of this name offers.

    ``options`` are the fields of the backend's ``Options``. Raises UnknownBackendError, BackendUnavailableError or
    OptionsError, each naming the mend.
    """
    return registry().create(backend, shape, **options)


def create_corpus(name: str, **options: Any) -> Corpus:
    """Build the corpus that a plugin offers under this name.

    ``options`` are the fields of the corpus's ``Options``. Raises UnknownCorpusError, CorpusUnavailableError,
    OptionsError or CorpusError, each naming the mend.
    """
    return registry().create_corpus(name, **options)
