"""``memstack corpora``: which corpora are registered, where they come from, and how to install what they need."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memstack.cli import console
from memstack.plugins.lookup import Offer
from memstack.plugins.registry import registry
from memstack.plugins.specs import CorpusSpec


def print_corpora(out: Console, errors: Console) -> None:
    """Print a table of all corpora and a line about each; on the other console, what is wrong with plugins."""
    offers = registry().corpus_offers()
    out.print(corpora_table(offers))
    for spec in (offer.spec for offer in offers):
        mend = f"; to install: {spec.pip_line}" if spec.missing() else ""
        out.print(f"{spec.name}: {spec.summary}{mend}", markup=False, soft_wrap=True)
    for problem in registry().problems():
        errors.print(problem, style="red", markup=False, soft_wrap=True)


def corpora_table(offers: Sequence[Offer[CorpusSpec]]) -> Table:
    """One line per corpus."""
    lines = console.table("corpus", "source", "licence", "library", "plugin")
    for offer in offers:
        spec = offer.spec
        library = Text(", ".join(spec.installed()) or "none needed")
        if missing := spec.missing():
            library = Text(f"{', '.join(missing)} is missing", style="yellow")
        origin = f"{offer.plugin}, {offer.distribution}" if offer.distribution else offer.plugin
        lines.add_row(Text(spec.name), Text(spec.source), Text(spec.licence), library, Text(origin))
    return lines
