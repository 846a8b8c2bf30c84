"""``memstack corpora``: which corpora are registered, where they come from, and how to install what they need."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from memstack.cli.console import ERR, OUT, JsonFile, say, table, write_json
from memstack.plugins.lookup import Offer
from memstack.plugins.registry import registry
from memstack.plugins.specs import CorpusSpec


def corpora_command(json_: JsonFile = None) -> None:
    """Print a table of all corpora, and a line about each."""
    offers = registry().corpus_offers()
    OUT.print(corpora_table(offers))
    for spec in (offer.spec for offer in offers):
        mend = f"; to install: {spec.pip_line}" if spec.missing() else ""
        say(f"{spec.name}: {spec.summary}{mend}", whole=bool(mend))
    for problem in registry().problems():
        say(problem, "red", ERR)
    write_json(json_, {"corpora": [_facts(offer) for offer in offers], "problems": registry().problems()})


def corpora_table(offers: Sequence[Offer[CorpusSpec]]) -> Table:
    """One line per corpus."""
    lines = table("corpus", "source", "licence", "library", "plugin")
    for offer in offers:
        spec = offer.spec
        library = Text(", ".join(spec.installed()) or "none needed")
        if missing := spec.missing():
            library = Text(f"{', '.join(missing)} is missing", style="yellow")
        origin = f"{offer.plugin}, {offer.distribution}" if offer.distribution else offer.plugin
        lines.add_row(Text(spec.name), Text(spec.source), Text(spec.licence), library, Text(origin))
    return lines


def _facts(offer: Offer[CorpusSpec]) -> dict[str, Any]:
    """What the table and the line say."""
    spec = offer.spec
    return {
        "name": spec.name,
        "summary": spec.summary,
        "source": spec.source,
        "licence": spec.licence,
        "libraries": spec.installed(),
        "missing": spec.missing(),
        "install": spec.pip_line if spec.missing() else "",
        "plugin": offer.plugin,
        "distribution": offer.distribution,
    }
