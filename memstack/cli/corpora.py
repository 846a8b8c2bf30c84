"""``memstack corpora``: which corpora are registered, where they come from, and how to install what they need."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from memstack.cli.console import ERR, OUT, JsonFile, say, table, write_record
from memstack.cli.listing import CorpusList, ListedCorpus
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
    write_record(json_, CorpusList(corpora=tuple(map(ListedCorpus.of, offers)), problems=registry().problems()))


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
