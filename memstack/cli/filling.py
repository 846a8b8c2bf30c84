"""What the commands that build a store have in common: where it goes, a bar, and what is told at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from memstack.cli.complete import backend_names
from memstack.cli.console import ERR, progress_bar, say
from memstack.contract.errors import ConfigError
from memstack.plugins import config

if TYPE_CHECKING:
    from torch import Tensor

    from memstack.wrappers.common import Header
    from memstack.wrappers.common.files import Parts

Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="A folder for the store; one that was begun goes on.")]
Url = Annotated[
    str | None, typer.Option(metavar="URL", help="Instead, a server and the store's name: http://HOST:PORT/NAME.")
]
Keeper = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        help="What keeps the entries: for a server, or, in a folder, instead of plain files.",
        autocompletion=backend_names,
    ),
]
Option = Annotated[
    list[str], typer.Option("-o", "--option", metavar="NAME=VALUE", help="An option of that backend; repeatable.")
]
NO_OPTIONS: list[str] = []


@contextmanager
def _what_is_kept() -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("what is stored is kept: the same command goes on", console=ERR)
        raise


class Reading(Protocol):
    """A model that reads documents."""

    header: Header
    first: int
    """The token of a document that its first entry is of."""

    def read(self, tokens: Tensor) -> Iterator[Parts]:
        """Read a document from its beginning, and yield what its layers would remember of each segment."""
        ...


def place_given(out: Path | None, url: str | None) -> str:
    """Return where the store goes."""
    if (out is None) == (url is None):
        raise ConfigError(f"give --out FOLDER or --url URL, got {'neither' if out is None else 'both'}")
    if url is not None and "://" not in url:
        raise ConfigError(f"--url should be http://HOST:PORT/NAME, got {url!r}; a folder is given by --out")
    return str(out) if out is not None else str(url)


def fill(
    reading: Reading,
    documents: Iterable[tuple[str, Tensor]],
    place: str,
    backend: str | None,
    options: list[str],
    total: int | None = None,
) -> None:
    """Fill a store with what a model makes of documents, names and tokens, of ``total`` tokens if that is known."""
    from memstack.wrappers.common import StoreBuilder  # torch is not needed for help

    given: dict[str, Any] = config.apply({}, options)
    with StoreBuilder(place, reading.header, backend, given) as builder, progress_bar() as progress, _what_is_kept():
        if builder.entries:
            say(f"goes on after {builder.entries:,} entries")
        task = progress.add_task("", total=total)
        there = count = read = 0
        for count, (name, tokens) in enumerate(documents, 1):
            progress.update(task, completed=read, description=f"document {count}")
            digest = hashlib.sha256(tokens.long().numpy().tobytes()).hexdigest()
            if builder.has(name, digest):
                there += 1
            else:
                for parts in reading.read(tokens):
                    builder.add(parts)
                    progress.advance(task, next(iter(parts.values()))[0].shape[1])
                builder.end(name, digest, reading.first)
            read += len(tokens)
        entries = builder.finish()
    if there:
        say(f"note: {there} of {count} documents were there already")
    layers = ", ".join(map(str, reading.header.layers))
    documents_read = f"{count} document" + "s" * (count != 1)
    say(f"{place}: {entries:,} entries of each of the layers {layers}, from {documents_read}")
