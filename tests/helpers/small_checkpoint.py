"""A checkpoint small enough to be measured in a test: untrained, of two layers, on a folder of three documents."""

from pathlib import Path

from helpers.small_corpus import write_corpus
from memstack_models.cli.work import create_trainer
from memstack_models.data.load import tokenizer_for
from memstack_models.training import run_folder

SEGMENT = 16
SETTINGS = (
    f"train.segment={SEGMENT}",
    "train.rows=2",
    "train.device=cpu",
    "model.dim=16",
    "model.ffn_dim=32",
    "memory.capacity=64",
    "memory.neighbours=4",
    "eval.rows=2",
    "eval.documents=2",
    "eval.tokens=200",
)


def write_checkpoint(folder: Path, *settings: str) -> Path:
    """Write a corpus and a run of it; returns the run's folder."""
    corpus = write_corpus(folder / "corpus", documents=3, words=200)
    run = run_folder.recipe("tiny", [*SETTINGS, f"data.corpus={corpus}", *settings])
    tokenizer = tokenizer_for(run.data)
    run_folder.create(folder / "run", run, tokenizer)
    create_trainer(run, folder / "run", tokenizer).save()
    return folder / "run"
