"""``memstack hf-build-store``: what a Hugging Face model remembers of a corpus, kept for whatever it reads later."""

from typing import Annotated

import typer

from memstack import Split
from memstack.cli.filling import NO_OPTIONS, Keeper, Option, Out, Url, fill, place_given
from memstack_hf.measure.command import Dtype, expect_transformers


def hf_build_store_command(
    model: Annotated[
        str, typer.Argument(help="A folder, a name on the Hugging Face Hub, or smollm2, which a package ships.")
    ],
    corpus: Annotated[
        list[str], typer.Argument(metavar="CORPUS...", help="A text, a folder, or a corpus by name; or several.")
    ],
    out: Out = None,
    url: Url = None,
    backend: Keeper = None,
    option: Option = NO_OPTIONS,
    split: Annotated[Split, typer.Option(help="Which split, of a corpus that has any.")] = "train",
    tokens: Annotated[int, typer.Option(min=0, help="Tokens read of each document; 0 is all.")] = 0,
    layer: Annotated[
        list[int],
        typer.Option(min=0, help="A layer to store, counted from 0; repeat for several. By default far_layers."),
    ] = [],  # noqa: B006
    dtype: Dtype = "auto",
) -> None:
    """Read documents with a model and store what its layers would remember, once for all that it reads later.

    Cut off, the same command goes on where it was. With more corpora at its end, it adds them. attach(model,
    store=PLACE), hf-eval and hf-ask then search the store beside the memory of what is being read.
    """
    expect_transformers()
    from memstack_hf.measure.loading import load, tokenised
    from memstack_hf.memory.storing import ModelReading

    place = place_given(out, url)
    loaded, tokenizer = load(model, dtype)
    with ModelReading(model, loaded, tuple(layer) or None) as reading:
        fill(reading, tokenised(corpus, split, tokenizer, tokens), place, backend, option)
