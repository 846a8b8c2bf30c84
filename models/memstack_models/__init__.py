"""A Memorizing Transformer (arXiv 2203.08913) that never knows which memory backend it calls."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_commands() -> Sequence[memstack.CommandSpec]:
    """Offer training, evaluation, export and the demo as commands."""
    summaries = {
        "train": "Train a model by a recipe, in a run folder that can be resumed.",
        "eval": "Evaluate a checkpoint on held-out documents, with and without its memory.",
        "compare": "Evaluate a checkpoint with several memories: perplexity, recall, search and add times.",
        "report": "Measure every backend on a checkpoint's own keys: a page of pictures, and the numbers.",
        "tune": "Pick the fastest backend and options for this machine at a recall, and say why.",
        "export": "Write a run's weights in bfloat16 to a folder that can be shared.",
        "demo": "Evaluate the shipped checkpoint with several memories, train a tiny model, draw a report.",
    }
    measuring = "report", "tune"
    return [
        memstack.CommandSpec(
            name=name,
            target=f"memstack_models.cli.{'report_tune' if name in measuring else 'commands'}:{name}_command",
            summary=summary,
        )
        for name, summary in summaries.items()
    ]


@memstack.hookimpl
def memstack_corpora() -> Sequence[memstack.CorpusSpec]:
    """Offer the documents that are on every machine: Python's own, and those of a folder."""
    return [
        memstack.CorpusSpec(
            name="python-stdlib",
            target="memstack_models.data.corpora.stdlib:StdlibCorpus",
            summary="the standard library's packages, large modules and their tests, as this interpreter has them",
            source="the running interpreter",
            licence="PSF-2.0",
        ),
        memstack.CorpusSpec(
            name="folder",
            target="memstack_models.data.corpora.folder:FolderCorpus",
            summary="the text files of a folder, which data.corpus names by its path; data.pattern chooses some",
            source="a folder of yours",
            licence="yours to know",
        ),
    ]
