"""``memstack build-store``: what a checkpoint remembers of a corpus, kept for all that it reads afterwards."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from memstack import Split
from memstack.cli.filling import NO_OPTIONS, Keeper, Option, Out, Url, fill, place_given
from memstack_models.cli.options import NOTHING, Checkpoint, Set

if TYPE_CHECKING:
    from torch import Tensor

    from memstack_models.data.tokenized import TokenizedCorpus


def build_store_command(
    checkpoint: Checkpoint,
    corpus: Annotated[
        list[str], typer.Argument(metavar="CORPUS...", help="A folder of documents, or a corpus by name; or several.")
    ],
    out: Out = None,
    url: Url = None,
    backend: Keeper = None,
    option: Option = NO_OPTIONS,
    split: Annotated[Split, typer.Option(help="Which split, of a corpus that has any.")] = "train",
    set_: Set = NOTHING,
) -> None:
    """Read documents with a checkpoint and store what its memory layers would remember, once for all that read it.

    Cut off, the same command goes on where it was. With more corpora at its end, it adds them. memory.store=PLACE then
    searches the store beside the memory of what is being read: memstack eval, memstack compare. Of a model of Hugging
    Face: memstack hf-build-store.
    """
    from memstack_models.cli.work import preparing
    from memstack_models.data.documents import replaced
    from memstack_models.data.load import tokenized
    from memstack_models.evaluation.storing import CheckpointReading
    from memstack_models.training import run_folder
    from memstack_models.training.device import pick_device

    place = place_given(out, url)
    folder = run_folder.find(checkpoint)
    run = run_folder.read_config(folder, set_)
    model, tokenizer = run_folder.load_model(folder, run, pick_device(run.train.device))
    reading = CheckpointReading(checkpoint, run, model)
    read: list[TokenizedCorpus] = []
    for source in corpus:
        with preparing(split) as tick:
            read.append(tokenized(replaced(run.data, source, split), split, tokenizer, tick=tick))
    total = sum(len(tokens) for each in read for tokens in each.documents)
    fill(reading, _documents(read), place, backend, option, total)


def _documents(read: "list[TokenizedCorpus]") -> "Iterator[tuple[str, Tensor]]":
    for each in read:
        yield from zip(each.names, each.documents, strict=True)
