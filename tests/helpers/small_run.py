"""A training run small enough for a test: what it reads, a trainer of it, its losses, and how to cut it short."""

import json
from pathlib import Path

import pytest
import torch
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.ranks import ALONE, Ranks
from memstack_models.training.records import LogEntry
from memstack_models.training.trainer import Trainer

TINY = {
    "model": {"preset": "tiny", "dim": 16, "ffn_dim": 32, "cache": 8, "dropout": 0.1},
    "memory": {"capacity": 48, "neighbours": 4},
    "train": {"rows": 4, "segment": 16, "steps": 12, "log_every": 1, "checkpoint_every": 4, "warmup": 2},
}


RSQRT = {"schedule": "rsqrt", "learning_rate": 0.1}


def config(**train: object) -> RunConfig:
    return RunConfig.model_validate(TINY | {"train": TINY["train"] | train})


def documents(count: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = (torch.randint(256, (40 + 23 * i,), generator=generator) for i in range(count))
    return [torch.cat([torch.tensor([256]), text]) for text in tokens]


def trainer(folder: Path, run: RunConfig, ranks: Ranks = ALONE) -> Trainer:
    tokenizer = ByteTokenizer()
    if not ranks.most(run_folder.is_begun(folder)):
        run_folder.create(folder, run, tokenizer, ranks=ranks)
    return Trainer(run, folder, tokenizer.vocab_size, documents(), documents(2), tokenizer.token_bytes, ranks=ranks)


def losses(folder: Path) -> list[float]:
    lines = (folder / run_folder.LOG).read_text(encoding="utf-8").splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


class KilledError(Exception):
    """Raised in the middle of a run."""


def train_until(trainer: Trainer, step: int) -> None:
    def report(entry: LogEntry) -> None:
        if entry.step == step:
            raise KilledError

    with pytest.raises(KilledError):
        trainer.train(report)
