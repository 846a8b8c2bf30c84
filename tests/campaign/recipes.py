"""Recipes mutated as trees and as bytes, and folders of odd files."""

import gzip
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import strategies as st

from campaign import odd
from campaign.keys import run_keys
from campaign.sandbox import RECIPE

SNIPPETS = (
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\0",
        b"\r",
        b"\r\n",
        b"\xe9",
        b"\x1f\x8b",
        b"=",
        b"[",
        b"]]",
        b'"""',
        b"'''",
        b"#",
    ),
    *(b"[model]\n", b"[[model]]\n", b"[memory.options]\n", b"a.b.c.d = 1\n", b"x = " + b"[" * 2000, b"\n" * 50),
    *(b"n = " + b"9" * 5000 + b"\n", b"t = 1979-05-27T07:32:00Z\n", b'"\\ud800" = 1\n', b"i = inf\n", b"z = -nan\n"),
)
NAMES = (
    b"a.txt",
    b"b.txt.gz",
    b"c.GZ",
    b".hidden",
    b"no\xff.txt",
    b"new\nline.txt",
    b"x" * 250,
    b"deep/er/d.txt",
    b"a b.txt",
    "é".encode(),
)
CONTENTS = (
    *(
        b"",
        b" \n\t ",
        b"caf\xe9",
        b"text " * 300,
        b"\0\0\0 text",
        b"\xef\xbb\xbfwith a mark " * 40,
        "日本語のテキスト。".encode() * 80,
    ),
    *(
        b"QUJD" * 8000,
        gzip.compress(b"packed text " * 300, mtime=0),
        gzip.compress(b"cut " * 900, mtime=0)[:30],
        b"\x1f\x8bno gzip",
        b"\r\n" * 99,
    ),
)
Files = tuple[tuple[bytes, bytes | str], ...]
"""Names with what they hold; a text is what a link leads to."""


@st.composite
def recipes(draw: st.DrawFn) -> bytes:
    """A recipe with some keys changed, and sometimes some bytes as well."""
    tree = tomllib.loads(RECIPE)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        draw(_changed(tree))
    content = _dumped(tree)
    for _ in range(draw(st.sampled_from((0,) * 9 + (1, 2)))):
        content = draw(_broken(content))
    return content


def files() -> st.SearchStrategy[Files]:
    """The files of a corpus's folder."""
    links = st.sampled_from(("nowhere", ".", "..", "a.txt", "../corpus", "../notes.txt", "l.txt", "/dev/null"))
    one = st.tuples(st.sampled_from(NAMES), st.sampled_from(CONTENTS) | st.binary(max_size=40) | links)
    return st.lists(one, max_size=6, unique_by=lambda file: file[0]).map(tuple)


def write_files(folder: Path, chosen: Files) -> None:
    """Write the files of a corpus; those that this file system does not take are left out."""
    for name, content in chosen:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


@st.composite
def _changed(draw: st.DrawFn, tree: dict[str, Any]) -> None:
    """Change one key of a tree in place."""
    key = draw(st.sampled_from(run_keys()))
    *sections, last = key.path.split(".")
    section: Any = tree
    for name in sections:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            return
    how = draw(st.sampled_from((*("set",) * 9, "any", "drop", "unknown", "section")))
    if how == "drop":
        section.pop(last, None)
    elif how == "section":
        tree[sections[0] if sections else last] = draw(odd.tree_values())
    else:
        section[f"{last}x" if how == "unknown" else last] = draw(_value(draw(odd.value_of(key)), how))


def _value(text: str, how: str) -> st.SearchStrategy[Any]:
    """The value that a text is in TOML, or any other."""
    if how == "any":
        return odd.tree_values()
    try:
        return st.just(tomllib.loads(f"x = {text}")["x"])
    except (ValueError, RecursionError):
        return st.just(text)


def _dumped(tree: Mapping[str, Any]) -> bytes:
    try:
        return tomli_w.dumps(tree).encode(errors="surrogatepass")
    except (TypeError, ValueError, RecursionError):
        return RECIPE.encode()  # TOML cannot say it


@st.composite
def _broken(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with some of them changed."""
    at = draw(st.integers(0, len(content)))
    size = draw(st.sampled_from((1, 1, 2, 10, 200)))
    how = draw(st.sampled_from(("insert", "insert", "drop", "flip", "cut", "twice", "start")))
    snippet = draw(st.sampled_from(SNIPPETS) | st.binary(max_size=8))
    return {
        "insert": content[:at] + snippet + content[at:],
        "drop": content[:at] + content[at + size :],
        "flip": content[:at] + bytes(byte ^ (1 << at % 8) for byte in content[at : at + 1]) + content[at + 1 :],
        "cut": content[:at],
        "twice": content[:at] + content[at : at + size] * 2 + content[at + size :],
        "start": snippet + content,
    }[how]
