"""``memstack backends``: what is registered, what it can do, and how to install what it needs."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from memstack.cli.console import ERR, OUT, JsonFile, say, table, write_record
from memstack.cli.listing import BackendList, ListedBackend
from memstack.plugins.lookup import Offer
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendSpec


def backends_command(json_: JsonFile = None) -> None:
    """Print a table of all backends, and a line about each."""
    offers = registry().offers()
    OUT.print(backends_table(offers))
    for spec in (offer.spec for offer in offers):
        mend = f"; to install: {spec.pip_line}" if spec.missing() else ""
        say(f"{spec.name}: {spec.summary}{mend}", whole=bool(mend))
    for problem in registry().problems():
        say(problem, "red", ERR)
    write_record(json_, BackendList(backends=tuple(map(ListedBackend.of, offers)), problems=registry().problems()))


def backends_table(offers: Sequence[Offer[BackendSpec]]) -> Table:
    """One line per backend."""
    lines = table("backend", "search", "trained", "devices", "library", "plugin")
    for offer in offers:
        spec = offer.spec
        search, trained = "exact" if spec.exact else "approximate", "yes" if spec.needs_training else "no"
        library = Text(", ".join(spec.installed()) or "none needed")
        if missing := spec.missing():
            library = Text(f"{', '.join(missing)} is missing", style="yellow")
        lines.add_row(Text(spec.name), search, trained, Text(" ".join(spec.devices)), library, Text(_origin(offer)))
    return lines


def _origin(offer: Offer[BackendSpec]) -> str:
    return f"{offer.plugin}, {offer.distribution}" if offer.distribution else offer.plugin
