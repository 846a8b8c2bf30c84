"""What the lists of backends and of corpora say alike."""

from collections.abc import Sequence

from rich.text import Text

from memstack.cli.console import ERR, say
from memstack.plugins.lookup import Offer
from memstack.plugins.specs import BackendSpec, CorpusSpec

Offers = Sequence[Offer[BackendSpec]] | Sequence[Offer[CorpusSpec]]


def say_about(offers: Offers, problems: Sequence[str]) -> None:
    """Print a line about each, with what installs it where that is missing, and what is wrong with plugins."""
    for spec in (offer.spec for offer in offers):
        mend = f"; to install: {spec.pip_line}" if spec.missing() else ""
        say(f"{spec.name}: {spec.summary}{mend}", whole=bool(mend))
    for problem in problems:
        say(problem, "red", ERR)


def library_cell(spec: BackendSpec | CorpusSpec) -> Text:
    """What it needs: found here, with versions, or missing."""
    if missing := spec.missing():
        return Text(f"{', '.join(missing)} is missing", style="yellow")
    return Text(", ".join(spec.installed()) or "none needed")


def plugin_cell(offer: Offer[BackendSpec] | Offer[CorpusSpec]) -> Text:
    """Which plugin offers it, and of which distribution."""
    return Text(f"{offer.plugin}, {offer.distribution}" if offer.distribution else offer.plugin)
