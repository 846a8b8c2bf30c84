"""The end-to-end test of correctness: a dictionary defined far beyond the window, which only the memory can look up."""

from pathlib import Path

import pytest
import torch
from helpers.variants import variants
from memstack_models.training.config import RunConfig
from memstack_models.training.streams import evaluation_stream
from memstack_models.training.trainer import Trainer

WORDS, MEANINGS, SEGMENT = 8, 16, 64
DOCUMENT, BLANK, KEYS, VALUES = 0, 1, 2, 2 + WORDS
VOCABULARY = VALUES + MEANINGS
DEFINITIONS = 4 * 2 * WORDS


def document(generator: torch.Generator) -> torch.Tensor:
    """Define each key four times, then two to four segments of nothing, then ask for every key once, in another order.

    All but the first can be looked up nearby, as in real text, which is what teaches look-up at all. Values are drawn
    independently, so that those already asked for say nothing about the rest.
    """
    values = VALUES + torch.randint(MEANINGS, (WORDS,), generator=generator)

    def pairs() -> torch.Tensor:
        order = torch.randperm(WORDS, generator=generator)
        return torch.stack([KEYS + order, values[order]], dim=1).flatten()

    blank = torch.full((int(torch.randint(2 * SEGMENT, 4 * SEGMENT, (), generator=generator)),), BLANK)
    return torch.cat([torch.tensor([DOCUMENT]), pairs(), pairs(), pairs(), pairs(), blank, pairs()])


def accuracy(trainer: Trainer, documents: list[torch.Tensor], with_memory: bool) -> float:
    """How many of the asked values are the most probable token."""
    run = trainer.run
    stream = evaluation_stream(run, documents, torch.device("cpu"), run.memory if with_memory else None)
    right = asked = 0
    for segment in stream:
        with torch.no_grad():
            logits, new = trainer.model(segment.tokens, stream.bank, stream.cache)
        stream.commit(new)
        place = segment.offset[:, None] + 1 + torch.arange(SEGMENT)
        values = (segment.targets >= VALUES) & (place > DEFINITIONS)
        right += int((logits.argmax(-1) == segment.targets)[values].sum())
        asked += int(values.sum())
    return right / asked


@pytest.mark.parametrize("combine", variants(["joint", "gate"], ["joint"]))
def test_a_look_up_beyond_the_window_needs_the_memory(tmp_path: Path, combine: str) -> None:
    """Learned to over 95 % with the memory; at chance, one in sixteen, with it switched off.

    Both layers have a memory: with smeared keys the first layer can already look up, and does so nearby first, so that
    a memory in the second alone stays unused.
    """
    run = RunConfig.model_validate(
        {
            "model": {
                "layers": 2,
                "dim": 64,
                "heads": 4,
                "ffn_dim": 128,
                "memory_layers": [1, 2],
                "combine": combine,
            },
            "memory": {"capacity": 512, "neighbours": 8},
            "train": {"rows": 32, "segment": SEGMENT, "steps": 275, "warmup": 50, "learning_rate": 5e-3},
            "eval": {"rows": 32},
        }
    )
    generator = torch.Generator().manual_seed(0)
    train = [document(generator) for _ in range(4096)]
    held_out = [document(generator) for _ in range(64)]
    trainer = Trainer(run, tmp_path, VOCABULARY, train, [], torch.ones(VOCABULARY, dtype=torch.int64))
    found = 0.0
    while found <= 0.95 and trainer.step < run.train.steps:
        trainer.advance()
        if trainer.step % 25 == 0:
            found = accuracy(trainer, held_out, with_memory=True)
    assert found > 0.95
    assert accuracy(trainer, held_out, with_memory=False) < 2 / MEANINGS
