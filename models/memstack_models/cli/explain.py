"""``memstack explain``: a page of where memory helps, token by token."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from memstack import ConfigError, MemstackError
from memstack.cli.console import JsonFile, say, write_record
from memstack_models.cli.options import NOTHING, Checkpoint, Set

TOKENS = 100_000


def explain_command(
    checkpoint: Checkpoint,
    file: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="A file of UTF-8 text, or a document of the run's corpus.")
    ],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("runs/explain.html"),
    tokens: Annotated[int, typer.Option(min=0, help="Tokens read of each file; 0 is all.")] = TOKENS,
    set_: Set = NOTHING,
    json_: JsonFile = None,
) -> None:
    """Write one page: every token coloured by what the memory saves, and all that was retrieved for it.

    The page needs nothing else and can be sent. Choose a token in it to see, for each memory layer and head, which
    entries it retrieved, how far back, in what surroundings, and with what weight.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise MemstackError("the page is written with jinja2: pip install 'memstack[plots]'")
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise ConfigError(f"--out {out} should be a file that ends in .html")
    if tokens == 1:
        raise ConfigError("--tokens 1 is the document token alone, of which nothing is predicted; name 2 or more")
    from memstack.plugins.writing import write_whole
    from memstack_models.cli.explaining import explain

    page, record = explain(checkpoint, file, tokens, set_)
    write_whole(out, content := page.encode())
    for each in record.documents:
        perplexities = f"perplexity {each.without:.3f} without memory, {each.within:.3f} with it"
        say(f"{each.name}: {each.tokens:,} tokens, {perplexities}")
    say(f"wrote {out} ({len(content) / 1e6:.1f} MB, {record.kept} of {record.neighbours} entries per head and token)")
    write_record(json_, record)
