"""``memstack hf-ask``: a question about a document that is longer than what a model sees."""

from pathlib import Path
from typing import Annotated

import typer

from memstack.cli.complete import backend_names
from memstack_hf.measure.command import Dtype, Store, expect_transformers


def hf_ask_command(
    model: Annotated[
        str, typer.Argument(help="A folder, a name on the Hugging Face Hub, or smollm2, which a package ships.")
    ],
    document: Annotated[Path, typer.Argument(help="A text, plain or .gz.")],
    question: Annotated[str, typer.Argument(help="What the model goes on from, such as the beginning of a sentence.")],
    tokens: Annotated[int, typer.Option(min=0, help="Tokens read of the document; 0 is all.")] = 0,
    answer: Annotated[int, typer.Option(min=1, help="Tokens of the answer.")] = 16,
    capacity: Annotated[int, typer.Option(min=1, help="Tokens a memory holds.")] = 65_536,
    backend: Annotated[
        str, typer.Option("--backend", "-b", help="The memory's backend.", autocompletion=backend_names)
    ] = "exact",
    store: Store = None,
    dtype: Dtype = "auto",
) -> None:
    """Print how a model goes on from a question, once with all of the document and once with the window alone."""
    expect_transformers()
    from memstack_hf.measure.asking import Question, ask

    ask(Question(model, document, question, tokens, answer, capacity, backend, dtype, store))
