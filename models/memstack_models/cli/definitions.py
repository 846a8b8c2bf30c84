"""``memstack definitions``: how often the use of a name retrieves its definition."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from memstack import CorpusError
from memstack.cli import console
from memstack.cli.console import OUT, JsonFile, say, write_record
from memstack_models.cli.options import NOTHING, Checkpoint, Data, Set
from memstack_models.data.errors import CheckpointError
from memstack_models.evaluation.definitions.measuring import Definitions, Language
from memstack_models.evaluation.definitions.rates import DefinitionsRecord, Rate, Retrieved

SAID = {
    "name": "the name in its definition",
    "statement": "the defining statement",
    "mention": "any earlier mention",
}

ASKED = {"before": "token before", "within": "own tokens"}


def definitions_command(
    checkpoint: Checkpoint,
    set_: Set = NOTHING,
    data: Data = None,
    language: Annotated[Language, typer.Option(help="Of the documents.")] = Language.PYTHON,
    json_: JsonFile = None,
) -> None:
    """Count the uses of names that retrieve their definition from the memory, beside what chance would.

    Of functions, classes, methods and assigned names in Python, of lemmas and definitions in Isabelle; only uses whose
    definition lies further back than the local context. eval.tokens and eval.documents bound what is read.
    """
    record = measure(checkpoint, set_, data, language)
    OUT.print(table(record))
    for line in notes(record):
        say(f"note: {line}")
    write_record(json_, record)


def measure(checkpoint: str, overrides: list[str], source: str | None, language: Language) -> DefinitionsRecord:
    """Read the documents of a run, or others; CheckpointError without a memory, CorpusError without any use."""
    from memstack_models.cli.work import evaluate_with_progress, notice
    from memstack_models.data.documents import SplitDocuments, corpus_of
    from memstack_models.data.tokenized import tokenize
    from memstack_models.evaluation.runs import text_of
    from memstack_models.training import run_folder
    from memstack_models.training.device import pick_device
    from memstack_models.training.streams import evaluation_stream

    folder = run_folder.find(checkpoint)
    run = text_of(folder, overrides, source)
    if not run.model.memory_layers:
        raise CheckpointError(f"{checkpoint} has no memory layer, so nothing is retrieved: name another one")
    device, limits = pick_device(run.train.device), run.eval
    model, tokenizer = run_folder.load_model(folder, run, device)
    documents = sorted(SplitDocuments(corpus_of(run.data), limits.split), key=lambda each: -len(each.text))
    documents = documents[: limits.documents or None]
    corpus = tokenize(documents, tokenizer, limits.tokens or None)
    notice(corpus, run)
    definitions = Definitions(run, documents, corpus.documents, tokenizer, language)
    if not definitions.uses:
        raise CorpusError(
            f"no use of a name in {len(documents)} {limits.split} documents has its {language} definition "
            f"further back than the local context: name longer documents, or another --language"
        )
    stream, observe = definitions.reader(evaluation_stream(run, corpus.documents, device, run.memory))
    evaluate_with_progress("reading", model, stream, tokenizer, observe)
    return definitions.record(str(folder))


def table(record: DefinitionsRecord) -> Table:
    """A line for each thing that is looked for, and by whom: heads, then what chance would have."""
    lines = console.table(
        "retrieved", "asking", right=["best head", "mean head", "any head", "random", "random, all heads", "latest"]
    )
    lines.title = f"uses that retrieve it, of {record.uses:,} in {len(record.documents)} documents"
    for each in record.retrieved:
        lines.add_row(*_cells(each))
    return lines


def _cells(each: Retrieved) -> list[Text]:
    rates = each.best_head, each.mean_head, each.any_head, each.random, each.random_any, each.recent
    return [Text(cell) for cell in (SAID[each.sought], ASKED[each.when], *map(_rate_text, rates))]


def _rate_text(rate: Rate) -> str:
    return f"{100 * rate.rate:.1f} % ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def notes(record: DefinitionsRecord) -> list[str]:
    """What limits the numbers, a line each."""
    near, gone = (sum(getattr(each, name) for each in record.documents) for name in ("near", "gone"))
    found = [
        f"not counted: {near:,} uses within {record.local} tokens of the definition, and {gone:,} whose definition "
        f"has left the memory of {record.memory}",
        "in brackets: other documents, nineteen of twenty; best head by line: "
        + ", ".join(f"{layer}.{head}" for layer, head in (each.best for each in record.retrieved))
        + " (layer.head)",
    ]
    return found + [f"{each.name}: {each.unreadable}" for each in record.documents if each.unreadable]
