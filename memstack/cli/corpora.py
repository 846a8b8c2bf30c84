"""``memstack corpora``: which corpora are registered, where they come from, and how to install what they need."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from memstack.cli.console import OUT, JsonFile, table, write_record
from memstack.cli.listing import CorpusList, ListedCorpus
from memstack.cli.offers import library_cell, plugin_cell, say_about
from memstack.plugins.lookup import Offer
from memstack.plugins.registry import registry
from memstack.plugins.specs import CorpusSpec


def corpora_command(json_: JsonFile = None) -> None:
    """Print a table of all corpora, and a line about each."""
    offers, problems = registry().corpus_offers(), registry().problems()
    OUT.print(corpora_table(offers))
    say_about(offers, problems)
    write_record(json_, CorpusList(corpora=tuple(map(ListedCorpus.of, offers)), problems=problems))


def corpora_table(offers: Sequence[Offer[CorpusSpec]]) -> Table:
    """One line per corpus."""
    lines = table("corpus", "source", "licence", "library", "plugin")
    for offer in offers:
        spec = offer.spec
        cells = Text(spec.name), Text(spec.source), Text(spec.licence)
        lines.add_row(*cells, library_cell(spec), plugin_cell(offer))
    return lines
