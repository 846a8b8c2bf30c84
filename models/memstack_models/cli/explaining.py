"""What ``memstack explain`` reads and how: files or documents of the corpus, with the memory and without."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from memstack import SPLITS, ConfigError, CorpusError, Document
from memstack.contract.errors import did_you_mean, printable
from memstack_models.cli.work import evaluate_with_progress, notice
from memstack_models.data.corpora.files import File, UnreadableError
from memstack_models.data.documents import corpus_of
from memstack_models.data.errors import CheckpointError
from memstack_models.data.reader import Segment
from memstack_models.data.tokenized import tokenize
from memstack_models.evaluation.explained import Explained, Kept
from memstack_models.evaluation.explained_record import ExplainRecord, explain_record
from memstack_models.evaluation.losses import TokenLosses
from memstack_models.evaluation.retrievals import RetrievalReader
from memstack_models.report.explain.page import About, explain_page
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.perplexity import Observe
from memstack_models.training.streams import evaluation_stream
from memstack_models.transformer.transformer import SegmentOutput


def explain(
    checkpoint: str, sources: Sequence[str], tokens: int, overrides: Sequence[str]
) -> tuple[str, ExplainRecord]:
    """Read files, or documents of the run's corpus by name, and return the page and its numbers.

    CheckpointError for a model without memory, ConfigError for what is no file and no document, or is too long for a
    page, CorpusError for a file that is no text.
    """
    folder = run_folder.find(checkpoint)
    run = run_folder.read_config(folder, overrides)
    if not run.model.memory_layers:
        raise CheckpointError(f"{checkpoint} has no memory layer, so there is nothing to explain: name another one")
    documents = find_documents(run, sources)
    device = pick_device(run.train.device)
    model, tokenizer = run_folder.load_model(folder, run, device)
    corpus = tokenize(documents, tokenizer, tokens or None)
    explained = Explained(corpus.names, corpus.documents, Kept.of(run, sum(map(len, corpus.documents))))
    notice(corpus, run)

    def read(title: str, memory: bool) -> TokenLosses:
        losses = TokenLosses()
        stream = evaluation_stream(run, corpus.documents, device, run.memory if memory else None)
        reader = RetrievalReader(stream, explained.take) if memory else None
        observers: list[Observe] = [losses.observe, *([reader.observe] if reader else [])]
        evaluate_with_progress(
            title,
            model,
            reader.stream if reader else stream,
            tokenizer,
            partial(_tell, observers),
        )
        return losses

    explained.take_losses(read("memory off", False), read("with memory", True))
    about = About(
        checkpoint=checkpoint if checkpoint == folder.name else folder.name,
        memory=f"{run.memory.backend}/{run.memory.capacity}",
        neighbours=run.memory.neighbours,
        segment=run.train.segment,
        cache=run.model.cache,
        layers=run.model.memory_layers,
        heads=run.model.heads,
    )
    record = explain_record(explained, tokenizer, len(about.layers), str(folder), about.memory, about.neighbours)
    return explain_page(explained, tokenizer, about), record


def _tell(observers: Sequence[Observe], segment: Segment, nats: Tensor, new: SegmentOutput) -> None:
    for observe in observers:
        observe(segment, nats, new)


def find_documents(run: RunConfig, sources: Sequence[str]) -> list[Document]:
    """Return the text of each file, or of the document of that name in whichever split of the run's corpus."""
    found = {source: _text_of(Path(source)) for source in sources if Path(source).exists()}
    if absent := [source for source in sources if source not in found]:
        names: list[str] = []
        for each in (each for split in SPLITS for each in corpus_of(run.data).documents(split)):
            names.append(each.name)
            if each.name in absent:
                found[each.name] = each.text
        if unknown := next((source for source in absent if source not in found), None):
            raise ConfigError(
                f"{printable(unknown)} is no file, and no document of {run.data.corpus}{did_you_mean(unknown, names)}"
            )
    return [Document(Path(source).name if Path(source).exists() else source, found[source]) for source in sources]


def _text_of(path: Path) -> str:
    if path.is_dir():
        raise ConfigError(f"{printable(str(path))} is a folder: name files")
    try:
        return File(path, path.name).read()
    except UnreadableError as error:
        raise CorpusError(str(error)) from None
