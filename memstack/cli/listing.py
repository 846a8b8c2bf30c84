"""What ``memstack backends --json`` and ``memstack corpora --json`` write."""

from typing import Any, Literal

from memstack.plugins.config import Frozen
from memstack.plugins.lookup import Offer
from memstack.plugins.records import Record
from memstack.plugins.specs import BackendSpec, CorpusSpec


class Listed(Frozen):
    """What is known of anything that a plugin offers."""

    name: str
    summary: str
    libraries: tuple[str, ...]
    """What it needs and finds here, with versions."""
    missing: tuple[str, ...]
    install: str
    """The command that installs what is missing; empty if nothing is."""
    plugin: str
    distribution: str


class ListedBackend(Listed):
    """A backend of the list."""

    exact: bool
    needs_training: bool
    devices: tuple[str, ...]

    @classmethod
    def of(cls, offer: Offer[BackendSpec]) -> "ListedBackend":
        """Return the facts of an offer."""
        spec = offer.spec
        return cls(exact=spec.exact, needs_training=spec.needs_training, devices=spec.devices, **_common(offer))


class ListedCorpus(Listed):
    """A corpus of the list."""

    source: str
    licence: str

    @classmethod
    def of(cls, offer: Offer[CorpusSpec]) -> "ListedCorpus":
        """Return the facts of an offer."""
        return cls(source=offer.spec.source, licence=offer.spec.licence, **_common(offer))


class BackendList(Record):
    """What ``memstack backends`` lists."""

    kind: Literal["backends"] = "backends"
    backends: tuple[ListedBackend, ...]
    problems: tuple[str, ...]


class CorpusList(Record):
    """What ``memstack corpora`` lists."""

    kind: Literal["corpora"] = "corpora"
    corpora: tuple[ListedCorpus, ...]
    problems: tuple[str, ...]


def _common(offer: Offer[BackendSpec] | Offer[CorpusSpec]) -> dict[str, Any]:
    spec = offer.spec
    return {
        "name": spec.name,
        "summary": spec.summary,
        "libraries": spec.installed(),
        "missing": spec.missing(),
        "install": spec.pip_line if spec.missing() else "",
        "plugin": offer.plugin,
        "distribution": offer.distribution,
    }
