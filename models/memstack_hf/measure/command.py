"""``memstack hf-eval``: a Hugging Face model and what a long-term memory does for it."""

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import typer

from memstack import MemstackError
from memstack.cli.complete import backend_names
from memstack.cli.console import JsonFile

Store = Annotated[
    str | None, typer.Option(metavar="PLACE", help="A folder or url that hf-build-store has filled, to read as well.")
]
Dtype = Annotated[
    Literal["auto", "bfloat16", "float16", "float32"],
    typer.Option(help="What the model computes in; auto is bfloat16 where the processor has products in it."),
]


def expect_transformers() -> None:
    """Raise MemstackError, with what to install, where transformers is missing."""
    if importlib.util.find_spec("transformers") is None:
        raise MemstackError("models of Hugging Face need transformers: pip install 'memstack[hf]'")


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Return the numbers of ``3,7,11-25``, as an option was given, in ascending order; MemstackError if it is none."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) < int(first):
            raise MemstackError(f"{option} should be numbers and ranges, as in 3,7,11-25, got {text!r}")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def hf_eval_command(
    model: Annotated[
        str, typer.Argument(help="A folder, a name on the Hugging Face Hub, or smollm2, which a package ships.")
    ],
    data: Annotated[Path, typer.Option(help="A folder of documents.")],
    tokens: Annotated[int, typer.Option(min=2, help="Tokens read of each document.")] = 6144,
    documents: Annotated[int, typer.Option(min=1, help="Documents read, of those that are as long.")] = 4,
    beyond: Annotated[int, typer.Option(min=0, help="Perplexity counts from this token on.")] = 2048,
    capacity: Annotated[list[int], typer.Option(min=1, help="Tokens a memory holds; repeat for several.")] = [8192],  # noqa: B006
    backend: Annotated[
        list[str],
        typer.Option("--backend", "-b", help="A backend; repeat for several.", autocompletion=backend_names),
    ] = ["exact"],  # noqa: B006
    neighbours: Annotated[int, typer.Option(min=1, help="Remembered tokens a query attends to.")] = 32,
    position: Annotated[Literal["auto", "true", "fixed"], typer.Option(help="Where a remembered key stands.")] = "auto",
    window: Annotated[int | None, typer.Option(min=0, help="Tokens in sight before each segment.")] = None,
    far_layers: Annotated[
        str | None, typer.Option(help="Layers that go on beyond the native context, as 11-25 or 3,7,11-25.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="A folder of other documents; first have these layers found, by loss on their --tokens, at most 4,096."
        ),
    ] = None,
    passkey: Annotated[list[int], typer.Option(min=64, help="Also hide a passkey in a text of so many tokens.")] = [],  # noqa: B006
    trials: Annotated[int, typer.Option(min=1, help="Passkeys hidden for each length.")] = 20,
    store: Store = None,
    dtype: Dtype = "auto",
    json_: JsonFile = None,
) -> None:
    """Print perplexity by position, speed and bytes: the window alone, memories, and full attention where it fits."""
    expect_transformers()
    from memstack_hf.measure.evaluating import Asked, evaluate

    if far_layers is not None and calibrate is not None:
        raise MemstackError("--far-layers names the layers that --calibrate would find: give one of them")
    far = None if far_layers is None else numbers(far_layers, "--far-layers")
    given = {"neighbours": neighbours, "position": position, "window": window, "far_layers": far}
    evaluate(
        Asked(
            model=model,
            data=data,
            tokens=tokens,
            documents=documents,
            beyond=min(beyond, tokens - 1),
            capacities=capacity,
            backends=backend,
            settings={name: value for name, value in given.items() if value is not None},
            calibrate=calibrate,
            passkeys=passkey,
            trials=trials,
            dtype=dtype,
            store=store,
        ),
        json_,
    )
