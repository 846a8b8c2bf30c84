"""The five corpora by name: each read from the sample, from another registered corpus, or from what was given."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import RootModel

from memstack import ConfigError, CorpusError
from memstack.contract.errors import did_you_mean
from memstack.plugins import config as configuration
from memstack.plugins.config import Frozen
from memstack.plugins.paths import in_full
from memstack.plugins.registry import registry

FILE = Path(__file__).parent / "corpora.toml"
CHECKOUT = Path(__file__).parents[4]


class Source(Frozen):
    """Where a corpus comes from."""

    says: str
    corpus: str
    """Name of a registered corpus."""
    path: str | None = None
    """The folder below the checkout that it reads."""


class Sources(RootModel[dict[str, Source]]):
    """The file of corpora."""


def sources() -> dict[str, Source]:
    """Return the corpora that tables name, and where each comes from."""
    return configuration.load(Sources, FILE).root


def given(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=SOURCE`` pairs; ConfigError for what is none, or names a corpus that no table does."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, source = pair.partition("=")
        if not equals or not source:
            raise ConfigError(
                f"--data takes NAME=SOURCE, a folder or a registered corpus: --data isabelle=my-theories; got {pair!r}"
            )
        check_name(name)
        found[name] = source
    return found


def check_name(name: str) -> str:
    """Return the name; ConfigError if it is none of the corpora's."""
    if name not in (known := sources()):
        raise ConfigError(f"there is no corpus {name!r}{did_you_mean(name, known)} (tables know: {', '.join(known)})")
    return name


def settings_of(name: str, others: Mapping[str, str]) -> list[str]:
    """Return the settings that have a run read a corpus; CorpusError, with what to do, if its folder is not there.

    What was given is a registered corpus, or a folder of such documents, which the corpus of that name reads.
    """
    source = sources()[check_name(name)]
    if name in others:
        registered = others[name] in {spec.name for spec in registry().corpora()}
        return _read(others[name]) if registered else _read(name, in_full(others[name], f"--data {name}").absolute())
    if source.path is None:
        return _read(source.corpus)
    folder = CHECKOUT / source.path
    if not folder.is_dir():
        raise CorpusError(
            f"corpus {name} ({source.says}) has no folder {folder}, which is part of memstack's repository: name one "
            f"of your own with --data {name}=FOLDER, or leave it out with --only"
        )
    return _read(source.corpus, folder)


def _read(corpus: str, path: Path | None = None) -> list[str]:
    options = [] if path is None else [f"data.options.path={_quoted(str(path))}"]
    return [f"data.corpus={_quoted(corpus)}", *options]


def _quoted(text: str) -> str:
    """As a value of TOML that is a text whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
