"""Backends take from the core its public names and those that a folder's ``__init__`` hands on, no others."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import memstack
import memstack.plugins
import memstack.store
import memstack.store.remote

SOURCES = sorted((Path(__file__).parents[2] / "backends").rglob("*.py"))
PUBLIC = {
    module.__name__: set(module.__all__)
    for module in (memstack, memstack.plugins, memstack.store, memstack.store.remote)
}
PUBLIC["memstack.store"].add("embedding_bag_triton")  # imports triton, which an __init__ must not
MOST_NAMES = 10


def from_the_core(path: Path) -> Iterator[tuple[str, str]]:
    """The modules of the core that a file imports from, each with a name that it takes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "memstack":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("memstack."))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-3:]))
def test_a_backend_takes_what_a_folder_hands_on(path: Path) -> None:
    assert [(module, name) for module, name in from_the_core(path) if name not in PUBLIC.get(module, set())] == []


@pytest.mark.parametrize("folder", ["memstack.plugins", "memstack.store", "memstack.store.remote"])
def test_a_folder_hands_on_few_names_and_has_each(folder: str) -> None:
    module = importlib.import_module(folder)
    assert 0 < len(module.__all__) <= MOST_NAMES
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
