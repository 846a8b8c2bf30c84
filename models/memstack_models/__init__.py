"""A Memorizing Transformer (arXiv 2203.08913) that never knows which memory backend it calls."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_commands() -> Sequence[memstack.CommandSpec]:
    """Offer training, evaluation, export and the demo as commands."""
    summaries = {
        "train": "Train a model by a recipe, in a run folder that can be resumed.",
        "eval": "Evaluate a checkpoint on held-out documents, with and without its memory.",
        "export": "Write a run's weights in bfloat16 to a folder that can be shared.",
        "demo": "Evaluate the shipped checkpoint with several memories, train a tiny model, draw a report.",
    }
    return [
        memstack.CommandSpec(name=name, target=f"memstack_models.commands:{name}_command", summary=summary)
        for name, summary in summaries.items()
    ]
