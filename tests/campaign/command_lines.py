"""Command lines made from the commands' own structure, then mutated: odd values, words missing, twice or elsewhere."""

import os
from functools import cache
from typing import Any

import typer
from hypothesis import strategies as st

from campaign import odd
from campaign.keys import run_keys
from campaign.sandbox import CAPS
from memstack.cli.main import app

Words = tuple[str, ...]
OFTEN = ("train", "train", "train", "eval", "eval", "compare", "export", "new-backend")
"""Commands that take the most from outside; the others are tried now and then."""
TAKES_SETTINGS = ("train", "eval", "compare", "tune", "report")
KNOWN = {
    "checkpoint": ("run", "run", "run", "empty", "other"),
    "recipe": ("recipe.toml", "recipe.toml", "tiny", "wrong.toml"),
    "run": ("run", "run", "empty"),
    "folder": ("new", "new", "empty", "corpus"),
    "name": ("exact", "hnsw", "my-index", "faiss-ivf"),
    "out": ("out", "out", "run", "empty", "out/deeper"),
    "backend": ("exact", "hnsw", "hnsw,m=8", "exact,dtype=float16", "bucketed"),
    "data": ("corpus", "other", "corpus/train"),
    "json_": ("out.json", "-", "new/out.json"),
    "option": ("m=8", "dtype=float16"),
}
"""What an option or an argument of that name takes."""


@cache
def commands() -> dict[str, list[Any]]:
    """Return every command's name with its parameters, as typer has them."""
    group: Any = typer.main.get_command(app)
    return {name: group.resolve_command(None, [name])[1].params for name in group.list_commands(None)}


def lines() -> st.SearchStrategy[Words]:
    """Command lines, most of them nearly right."""
    return _lines().filter(_can_be_typed)


@st.composite
def _lines(draw: st.DrawFn) -> Words:
    name = draw(st.sampled_from((*OFTEN, *commands())))
    words = [name]
    if name in TAKES_SETTINGS:
        words += [part for setting in CAPS for part in ("--set", setting)]
    for parameter in commands()[name]:
        words += draw(_words_for(parameter))
    if name in TAKES_SETTINGS:
        words += [
            part
            for setting in draw(st.lists(settings(), min_size=draw(st.integers(0, 1)), max_size=2))
            for part in ("--set", setting)
        ]
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        words = draw(_mutated(words))
    return tuple(words)


@st.composite
def settings(draw: st.DrawFn) -> str:
    """A setting: most are of a known key, some are no setting at all."""
    key = draw(st.sampled_from(run_keys()))
    usual = f"{key.path}={draw(odd.value_of(key))}"
    return draw(st.sampled_from((*(usual,) * 9, usual.replace("=", "", 1), f"{key.path}.x=1", f"x.{usual}")))


@st.composite
def _words_for(draw: st.DrawFn, parameter: Any) -> Words:
    """An argument nearly always, an option now and then; ``--set`` comes by itself."""
    if parameter.param_type_name == "argument":
        return (draw(_value(parameter)),) if draw(st.integers(0, 19)) else ()
    if parameter.name == "set_" or parameter.name == "help" or draw(st.integers(0, 3)):
        return ()
    option = draw(st.sampled_from(parameter.opts))
    if parameter.is_flag:
        return (option,)
    value = draw(_value(parameter))
    return draw(st.sampled_from(((option, value), (option, value), (f"{option}={value}",), (option,))))


def _value(parameter: Any) -> st.SearchStrategy[str]:
    """Three in four times what the parameter takes, if that is known."""
    kind = str(vars(parameter).get("type_descriptor"))
    if parameter.name in KNOWN:
        good = st.sampled_from(KNOWN[parameter.name])
    elif "'int'" in kind or "'float'" in kind:
        good = st.sampled_from(("1", "2", "8", "0.5", "0"))
    else:
        good = odd.paths()
    return st.one_of(*(good,) * 7, odd.anything())


@st.composite
def _mutated(draw: st.DrawFn, words: list[str]) -> list[str]:
    """The words with one thing changed."""
    if not words:
        return [draw(odd.anything())]
    at = draw(st.integers(0, len(words) - 1))
    other = draw(st.sampled_from(OPTIONS))
    how = draw(st.sampled_from(("drop", "twice", "odd", "insert", "option", "swap", "typo", "help")))
    if how == "swap":
        return [*words[:at], *reversed(words[at : at + 2]), *words[at + 2 :]]
    replaced = {
        "drop": [],
        "twice": [words[at], words[at]],
        "odd": [draw(odd.anything())],
        "insert": [words[at], draw(odd.anything())],
        "option": [words[at], other],
        "typo": [words[at][:-1] or "x"],
        "help": [words[at], "--help"],
    }[how]
    return words[:at] + replaced + words[at + 1 :]


def _can_be_typed(words: Words) -> bool:
    """No system hands on a NUL or half a character, and ``--debug`` asks for a traceback."""
    try:
        return not any(b"\0" in os.fsencode(word) for word in words) and "--debug" not in words
    except UnicodeEncodeError:
        return False


OPTIONS = (
    "--set",
    "--out",
    "--json",
    "--resume",
    "--quick",
    "--backend",
    "-b",
    "--capacity",
    "--version",
    "--nothing",
    "-o",
)
