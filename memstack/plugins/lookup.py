"""From a name to a class and its options: the same mistakes have the same messages for every kind of plugin."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from memstack.contract.errors import (
    BackendUnavailableError,
    CorpusUnavailableError,
    DuplicateBackendError,
    DuplicateCorpusError,
    MemstackError,
    OptionsError,
    UnknownBackendError,
    UnknownCorpusError,
    did_you_mean,
    in_one_line,
)
from memstack.plugins import secrets
from memstack.plugins.config import Frozen, first_problem
from memstack.plugins.guests import guest
from memstack.plugins.specs import BackendSpec, CommandSpec, CorpusSpec, LibrarySpec, import_target

Spec = TypeVar("Spec", BackendSpec, CorpusSpec, CommandSpec)
Options = TypeVar("Options", bound=Frozen)


@dataclass(frozen=True)
class Source:
    """Where a plugin comes from."""

    name: str
    """Its entry point's; empty if that cannot be read."""
    distribution: str
    """Name and version of the installed distribution, such as ``memstack 0.1.0``; empty if registered by hand."""

    @property
    def key(self) -> str:
        """The plugin's name for pluggy. Two distributions may choose one entry point name, and both should be seen."""
        return f"{self.name} of {self.distribution}" if self.distribution else self.name

    def __str__(self) -> str:
        plugin = f"plugin {self.name!r}" if self.name else "a plugin"
        return f"{plugin} of {self.distribution}" if self.distribution else plugin


@dataclass(frozen=True)
class Offer(Generic[Spec]):
    """A record together with the plugin that offers it."""

    spec: Spec
    source: Source

    @property
    def plugin(self) -> str:
        """The name of the plugin's entry point."""
        return self.source.name

    @property
    def distribution(self) -> str:
        """Name and version of the plugin's distribution; empty if registered by hand."""
        return self.source.distribution


@dataclass(frozen=True)
class Kind:
    """What a kind of plugin is called in messages, and the errors of those who ask for one."""

    name: str
    title: str
    unknown: type[MemstackError]
    duplicate: type[MemstackError]
    unavailable: type[MemstackError]


BACKEND = Kind("backend", "memory backend", UnknownBackendError, DuplicateBackendError, BackendUnavailableError)
CORPUS = Kind("corpus", "corpus", UnknownCorpusError, DuplicateCorpusError, CorpusUnavailableError)
NO_PLUGINS = (
    "; not even memstack's own, which are found by its metadata, memstack-*.dist-info: install it with pip, or have"
    " what freezes the program take that along"
)


def only(kind: Kind, offers: Sequence[Offer[Spec]], name: str, broken: Iterable[str]) -> Spec:
    """Return the one record of that name; the kind's error if there is not just one. ``broken`` may be why."""
    found = [offer for offer in offers if offer.spec.name == name]
    if not found:
        names = [offer.spec.name for offer in offers]
        hint, problems = did_you_mean(name, names), "".join(f"; {problem}" for problem in broken)
        registered = f"(registered: {', '.join(names) or 'none'})"
        what = problems or NO_PLUGINS * (not names)
        raise kind.unknown(f"no {kind.title} is called {name!r}{hint} {registered}{what}")
    if len(found) > 1:
        raise kind.duplicate(offered_twice(kind.name, name, [offer.source for offer in found]))
    return found[0].spec


def load_target(kind: Kind, spec: LibrarySpec) -> Any:
    """Import the class of a record; the kind's error, with the pip line, if a library is missing."""
    if missing := spec.missing():
        raise kind.unavailable(f"{kind.name} {spec.name!r} needs {', '.join(missing)}: {spec.pip_line}")
    loaded: list[Any] = []
    failed: list[BaseException] = []
    with guest(failed.append):
        loaded.append(import_target(spec.target))
    for error in failed:
        why = f"cannot be imported from {spec.target}: {in_one_line(error)}"
        raise kind.unavailable(f"{kind.name} {spec.name!r} {why}") from error
    return loaded[0]


def checked(kind: Kind, name: str, model: type[Options], options: Mapping[str, Any]) -> Options:
    """Validate options against a class's own ``Options``; OptionsError names the nearest known key."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise OptionsError(f"{kind.name} {name!r}: {_problem(name, error, model)}") from None


def doubled(kind: str, offers: Sequence[Offer[Spec]]) -> Iterator[str]:
    """Yield one line for every name that is offered more than once."""
    sources: dict[str, list[Source]] = {}
    for offer in sorted(offers, key=lambda offer: offer.spec.name):
        sources.setdefault(offer.spec.name, []).append(offer.source)
    return (offered_twice(kind, name, found) for name, found in sources.items() if len(found) > 1)


def offered_twice(kind: str, name: str, sources: Sequence[Source]) -> str:
    """Return the line about a name that several plugins offer."""
    return f"{kind} {name!r} is offered by both {' and '.join(map(str, sources))}; rename or uninstall one of them"


def _problem(name: str, error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong first; of a secret that is missing, how to give it."""
    first, fields = error.errors(include_url=False)[0], secrets.fields_of(model)
    option = ".".join(map(str, first["loc"]))
    if first["type"] == "missing" and option in fields and secrets.keeps_secret(fields[option].annotation):
        return secrets.how_to_give(name, option)
    return first_problem(error, model)
