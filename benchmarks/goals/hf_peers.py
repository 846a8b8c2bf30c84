"""What a long-term memory is good for beside what people use otherwise, at equal bytes of cache and on the same text.

    python -m benchmarks.goals.hf_peers --data data/screening --passkeys data/dracula --out hf-peers.json

A text is read up to some place, a context, and compressed to a budget; then the tokens that follow are predicted from
what is left. The same for all: windows with and without a memory, transformers' sliding cache, full attention, and the
presses of kvpress 0.5.5. That needs a transformers older than memstack_hf's, so it has an environment of its own, which
is made at the first run: it holds ``pip install kvpress==0.5.5`` and our torch. Both sides read the same weights; that
their full attention comes to the same is printed.

Passkeys are hidden in a context, and what follows is the question: no press sees it when it chooses what to keep.

Every cell (one group of ways, one text) is a file of ``--cells``, and is read from there if it is there: a run that was
ended goes on, and one may read our side while another reads the peer's. Hours on one core.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from memstack_hf.measure.loading import documents, load
from memstack_hf.measure.passkey import QUESTION, trial

from memstack.cli.console import OUT, say
from memstack.measure import describe_hardware
from memstack.plugins.disk_cache import cache_folder
from memstack.plugins.records import Record

from .hf_peers_ours import ours, outcomes
from .hf_peers_results import HfPeers, shown
from .hf_peers_worker import BY_SEGMENTS, FULL, Outcome, Text
from .peer import Worker, environment, our_torch

KVPRESS = ("kvpress==0.5.5", "transformers==5.2.0")
AFTER = 512
"""Tokens predicted after each context: as many as are read at once."""
PASSKEY = "passkey"
"""How the names of texts begin that hide one."""


class Cell(Record):
    """One text, read by one group of ways."""

    kind: Literal["hf-peers-cell"] = "hf-peers-cell"
    group: str
    text: str
    versions: dict[str, str]
    outcomes: tuple[Outcome, ...]


class KvpressWorker(Worker):
    """kvpress's side, in its environment."""

    script = Path(__file__).with_name("hf_peers_worker.py")


def main(
    data: Annotated[list[Path], typer.Option(file_okay=False, help="Folders of documents.")],
    passkeys: Annotated[Path | None, typer.Option(file_okay=False, help="A folder; its first text hides them.")] = None,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the results here, as JSON.")] = None,
    cells: Annotated[Path, typer.Option(file_okay=False, help="Where every cell is kept.")] = Path("runs/hf-peers"),
    environment_: Annotated[Path | None, typer.Option("--environment", help="kvpress's virtual environment.")] = None,
    model: Annotated[str, typer.Option(help="As hf-eval takes it.")] = "smollm2",
    dtype: Annotated[str, typer.Option(help="What it computes in.")] = "bfloat16",
    budget: Annotated[list[int], typer.Option(help="Tokens per layer that attention may read.")] = [548],  # noqa: B006
    context: Annotated[list[int], typer.Option(help="Tokens read before what is predicted.")] = [2048, 4096],  # noqa: B006
    most: Annotated[int, typer.Option("--documents", help="Documents of each folder.")] = 4,
    passkey_tokens: Annotated[int, typer.Option(help="Tokens before a passkey is asked for.")] = 4096,
    trials: Annotated[int, typer.Option(help="Passkeys, at the first budget.")] = 5,
    threads: Annotated[int, typer.Option(help="Of either side.")] = 1,
    only: Annotated[Literal["memstack", "kvpress"] | None, typer.Option(help="Read by one side alone.")] = None,
) -> None:
    """Print perplexity after a compressed context, passkeys found, and bytes, of every way at every budget."""
    torch.set_num_threads(threads)
    loaded, tokenizer = load(model, dtype)
    texts = [text for each in budget for text in _documents(data, tokenizer, tuple(context), each, most)]
    if passkeys is not None:
        texts += _passkeys(passkeys, tokenizer, passkey_tokens, budget[0], trials)
    found: list[Cell] = []
    with ExitStack() as opened:
        sides: list[Any] = [] if only == "kvpress" else [OurSide(loaded)]
        if only != "memstack":
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            loaded.save_pretrained(folder)
            python = environment(environment_ or cache_folder() / "kvpress", [*KVPRESS, our_torch()])
            request = {"model": str(folder), "threads": threads}
            sides.append(PeerSide(opened.enter_context(KvpressWorker(python, "kvpress", request))))
        for text in texts:
            for side in sides:
                for group in side.groups:
                    found += [_cell(cells, (model, dtype), side, group, part) for part in side.parts(group, text)]
    # Full attention is the same at every budget.
    unique = {(one.way, one.budget, one.text, one.context): one for cell in found for one in cell.outcomes}
    results = [*unique.values()]
    OUT.print(shown(results, context))
    if out:
        versions = {name: version for cell in found for name, version in cell.versions.items()}
        same: dict[str, Any] = {"model": model, "dtype": dtype, "machine": describe_hardware(), "versions": versions}
        HfPeers(outcomes=tuple(results), **same).write(out)


class OurSide:
    """Ways of reading in this process."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.groups: Sequence[str] = [*ours(0)]
        self.versions: dict[str, str] = {}

    def parts(self, group: str, text: Text) -> list[Text]:
        """What is a cell each: what is read once serves all contexts."""
        return [replace(text, budget=0)] if group == FULL else [text]

    def read(self, group: str, text: Text) -> Iterable[Outcome]:
        """Read a text by the way of that name."""
        return outcomes(self._model, ours(text.budget)[group], text)


class PeerSide:
    """Ways of reading in the peer's process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.groups: Sequence[str] = worker.ready["groups"]
        self.versions: dict[str, str] = worker.ready["versions"]

    def parts(self, group: str, text: Text) -> list[Text]:
        """What is a cell each: a context that is read whole is read for itself."""
        return [text] if group.startswith(BY_SEGMENTS) else [replace(text, contexts=(each,)) for each in text.contexts]

    def read(self, group: str, text: Text) -> Iterable[Outcome]:
        """Read a text by the ways of a group."""
        return [Outcome(**one) for one in self._worker.ask(json.dumps({"group": group, "text": asdict(text)}))]


def _cell(folder: Path, model: tuple[str, str], side: OurSide | PeerSide, group: str, text: Text) -> Cell:
    """Read a cell, or its file: what that is called by is all that decides the cell."""
    decides = repr((model, side.versions, group, text))
    path = folder / f"{sha256(decides.encode()).hexdigest()[:16]}.json"
    if path.exists():
        return Cell.read(path)
    found = tuple(side.read(group, text))
    cell = Cell(group=group, text=text.name, versions=side.versions, outcomes=found)
    cell.write(path)
    contexts = " and ".join(f"{each:,}" for each in text.contexts)
    say(f"{text.name}, {contexts} tokens: {group}")
    return cell


def _documents(
    folders: Sequence[Path], tokenizer: Any, contexts: tuple[int, ...], budget: int, most: int
) -> Iterator[Text]:
    tokens = max(contexts) + AFTER + 1
    for folder in folders:
        for name, ids in documents(folder, tokenizer, tokens, most):
            yield Text(name, tuple(ids[0].tolist()), contexts, AFTER, AFTER, budget)


def _passkeys(folder: Path, tokenizer: Any, tokens: int, budget: int, trials: int) -> Iterator[Text]:
    """Texts that end in a question, at a place where all ways have compressed what came before."""
    (_, filler), *_ = documents(folder, tokenizer, tokens, 1)
    question = len(tokenizer(QUESTION, add_special_tokens=False).input_ids)
    for seed in range(trials):
        prompt, answer = trial(tokenizer, filler[0], tokens + question, seed)
        ids = (*prompt.tolist(), *answer.tolist())
        yield Text(f"{PASSKEY} {seed}", ids, (tokens,), len(ids) - tokens - 1, len(answer), budget)


if __name__ == "__main__":
    typer.run(main)
