"""``memstack backends``: what is registered, what it can do, and how to install what it needs."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from memstack.cli.console import OUT, JsonFile, table, write_record
from memstack.cli.listing import BackendList, ListedBackend
from memstack.cli.offers import library_cell, plugin_cell, say_about
from memstack.plugins.lookup import Offer
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendSpec


def backends_command(json_: JsonFile = None) -> None:
    """Print a table of all backends, and a line about each."""
    offers, problems = registry().offers(), registry().problems()
    OUT.print(backends_table(offers))
    say_about(offers, problems)
    write_record(json_, BackendList(backends=tuple(map(ListedBackend.of, offers)), problems=problems))


def backends_table(offers: Sequence[Offer[BackendSpec]]) -> Table:
    """One line per backend."""
    lines = table("backend", "search", "trained", "devices", "library", "plugin")
    for offer in offers:
        spec = offer.spec
        search, trained = "exact" if spec.exact else "approximate", "yes" if spec.needs_training else "no"
        devices = Text(" ".join(spec.devices))
        lines.add_row(Text(spec.name), search, trained, devices, library_cell(spec), plugin_cell(offer))
    return lines
