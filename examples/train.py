"""Train a small Memorizing Transformer and say what its memory is worth: ``python examples/train.py runs/example``.

Every key of the recipe can be overridden: ``python examples/train.py runs/mine data.corpus=my-texts train.steps=2000``.
"""

import sys
from pathlib import Path

from memstack_models.cli.work import create_trainer
from memstack_models.data.load import tokenizer_for
from memstack_models.evaluation.comparison import Comparison
from memstack_models.training import run_folder


def main(folder: Path, overrides: list[str]) -> dict[str, float]:
    """Train in a new folder; return the perplexity of held-out documents with and without the memory."""
    run = run_folder.recipe("tiny", overrides)
    tokenizer = tokenizer_for(run.data)
    run_folder.create(folder, run, tokenizer)
    trainer = create_trainer(run, folder, tokenizer)
    trainer.train(lambda entry: print(entry.model_dump_json(exclude_none=True)))

    comparison = Comparison(folder)
    memories = {"with its memory": run.memory, "without": None}
    perplexities = {name: comparison.evaluate(memory).perplexity for name, memory in memories.items()}
    for name, perplexity in perplexities.items():
        print(f"{name}: perplexity {perplexity:.2f}")
    return perplexities


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
