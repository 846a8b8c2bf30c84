"""What ``memstack eval`` measures, and the tables that it prints."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from memstack import ConfigError
from memstack.cli import console
from memstack.plugins.config import MemoryConfig
from memstack_models.cli.work import evaluate_with_progress, notice, preparing
from memstack_models.data.load import tokenized
from memstack_models.data.tokenized import TokenizedCorpus
from memstack_models.data.tokenizer import Tokenizer
from memstack_models.evaluation.losses import TokenLosses
from memstack_models.evaluation.records import EvalRecord, Evaluated, Opponent
from memstack_models.evaluation.runs import differences, start_of, stretch_titles, text_of, trained_tokens
from memstack_models.report.positions import OFF, PositionLine
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.ranks import ALONE, Ranks
from memstack_models.training.streams import check_documents, evaluation_stream, grouped

LISTED = 20
"""So many documents stand in the table."""


@dataclass(frozen=True)
class Read:
    """What was read, and what came of it."""

    record: EvalRecord
    names: list[str]
    """Of the documents."""
    losses: dict[str, TokenLosses]
    """``memory_off``, ``memory`` and, of the same tokens, ``opponent``."""
    same_tokens: bool = True
    """Whether the opponent, if there is one, has the same tokeniser."""

    def by_position(self) -> list[PositionLine]:
        """Perplexity by stretch, of each memory and the opponent, as a picture shows them."""
        opponent, memories = self.record.opponent, self.record.memories
        found = [PositionLine(OFF, memories["none"].by_position, self.losses["memory_off"].segments(), "off")]
        for name in memories.keys() - {"none"}:
            found.append(PositionLine(name, memories[name].by_position, self.losses["memory"].segments()))
        if opponent and self.same_tokens:
            theirs = self.losses["opponent"].segments()
            found.append(PositionLine("no memory, trained alike", opponent.by_position, theirs, "opponent"))
        return found

    def notes(self) -> Iterator[str]:
        """Yield what limits a comparison with the opponent."""
        opponent = self.record.opponent
        if opponent and not self.same_tokens:
            yield "the opponent has another tokeniser: compare bits per byte, not perplexities"
        if opponent and opponent.differs:
            yield f"the opponent differs in more than the memory: {'; '.join(opponent.differs)}"


def evaluate_run(
    checkpoint: str, overrides: list[str], source: str | None, opponent: str | None, ranks: Ranks = ALONE
) -> Read:
    """Read a run's documents, or others, with its memory and without; and with the opponent, if there is one.

    Of several ranks each reads its share, and the first has the whole. ConfigError for an opponent that has a memory.
    """

    def prepare() -> tuple[RunConfig, RunConfig | None]:
        run = text_of(folder, overrides, source)
        return run, _opponent_config(opponent, run) if opponent else None

    folder = ranks.together(lambda: run_folder.find(checkpoint))
    run, other = ranks.together(prepare)
    evaluator = ranks.after_first(lambda: _Evaluator(folder, run, ranks))
    notice(evaluator.corpus, run)
    memory = _name_of(run.memory)
    memories: dict[str, Evaluated] = {}
    losses: dict[str, TokenLosses] = {}
    for name, section in {"none": None, memory: run.memory}.items():
        if section is None or run.model.memory_layers:
            column = "memory" if section else "memory_off"
            memories[name], losses[column] = evaluator.read(name.replace("none", "memory off"), section)
    record = EvalRecord(checkpoint=str(folder), memories=memories)
    names = evaluator.corpus.names
    if opponent is None or other is None:
        return Read(record, names, losses)
    there = run_folder.find(opponent)
    against = ranks.after_first(lambda: _Evaluator(there, other, ranks))
    found, theirs = against.read(f"opponent {opponent}", None)
    trained = ranks.together(lambda: (trained_tokens(folder, run), trained_tokens(there, other)))
    differs = tuple(differences(run, run_folder.read_config(there), *trained))
    record = record.model_copy(update={"opponent": Opponent(**dict(found), checkpoint=opponent, differs=differs)})
    same = against.tokenizer.identity == evaluator.tokenizer.identity
    return Read(record, names, losses | ({"opponent": theirs} if same else {}), same)


class _Evaluator:
    """A run and the documents that it reads."""

    def __init__(self, folder: Path, run: RunConfig, ranks: Ranks) -> None:
        self.ranks, self.run, self.device = grouped(ranks, run, run.memory), run, pick_device(run.train.device)
        self.model, self.tokenizer = run_folder.load_model(folder, run, self.device)
        limits = run.eval
        with preparing(limits.split) as tick:
            self.corpus = tokenized(run.data, limits.split, self.tokenizer, limits.tokens, limits.documents, tick)

    tokenizer: Tokenizer
    corpus: TokenizedCorpus

    def read(self, title: str, memory: MemoryConfig | None) -> tuple[Evaluated, TokenLosses]:
        """Read the documents once: what came of all, and on the first rank of each."""
        ranks, losses, made_of = self.ranks, TokenLosses(), (self.run, self.corpus.documents, self.device, memory)
        stream = ranks.together(lambda: evaluation_stream(*made_of, ranks, self.model))
        check_documents([stream], ranks)
        read = ranks.together(lambda: evaluate_with_progress(title, self.model, stream, self.tokenizer, losses.observe))
        result, losses = read.over(ranks).result(), losses.over(ranks)
        by_document = losses.by_document(self.corpus.names, self.tokenizer.token_bytes) if ranks.first else ()
        return Evaluated(**dict(result), by_document=by_document), losses


def _name_of(memory: MemoryConfig) -> str:
    """What a memory is called in tables: backend and capacity, and the store beside it."""
    own = f"{memory.backend}/{memory.capacity}"
    if memory.store is None:
        return own
    name = Path(memory.store.place).name
    return f"store {name}" if memory.store.alone else f"{own} + store {name}"


def _opponent_config(name: str, run: RunConfig) -> RunConfig:
    """The opponent's configuration, to read the text of the run; ConfigError if it has a memory."""
    own = run_folder.read_config(run_folder.find(name), [f"train.device={run.train.device}"])
    if own.model.memory_layers:
        raise ConfigError(
            f"--opponent {name} has memory layers {list(own.model.memory_layers)}: name a run without a memory, "
            "trained with --set 'model.memory_layers=[]'"
        )
    return own.model_copy(update={"data": run.data, "eval": run.eval})


def by_position_table(record: EvalRecord) -> Table:
    """Perplexity of each memory, whole and by position in the document."""
    rows = _rows(record)
    stretches = stretch_titles([read.by_position for read in rows.values()])
    lines = console.table("memory", right=["perplexity", "bits/byte", *stretches.values()])
    lines.title = "perplexity by position in the document (tokens)"
    for name, read in rows.items():
        places = {start_of(stretch): value for stretch, value in read.by_position.items()}
        cells = [f"{places[start]:.3f}" if start in places else "" for start in stretches]
        lines.add_row(Text(name), f"{read.perplexity:.3f}", f"{read.bits_per_byte:.3f}", *cells)
    return lines


def by_document_table(record: EvalRecord) -> Table:
    """Perplexity of each document, the longest first, by memory; of very many documents the longest."""
    rows = _rows(record)
    first = next(iter(rows.values())).by_document
    lines = console.table("document", right=["tokens", *rows])
    lines.title = "perplexity by document"
    found = [{each.name: each.perplexity for each in read.by_document} for read in rows.values()]
    for each in first[:LISTED]:
        cells = [f"{perplexities[each.name]:.3f}" if each.name in perplexities else "" for perplexities in found]
        lines.add_row(Text(each.name), f"{each.tokens:,}", *cells)
    if len(first) > LISTED:
        lines.add_row(f"and {len(first) - LISTED} shorter ones", "(--json has all)")
    return lines


def _rows(record: EvalRecord) -> dict[str, Evaluated]:
    rows: dict[str, Evaluated] = dict(record.memories)
    return rows | ({f"opponent {record.opponent.checkpoint}": record.opponent} if record.opponent else {})
