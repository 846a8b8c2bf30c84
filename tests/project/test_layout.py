"""Who may import whom, by reading every file's syntax tree; and names that the core must not know."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from memstack.plugins.registry import registry

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "memstack").rglob("*.py"))
BACKENDS = sorted((ROOT / "backends").glob("memstack_*"))
MODELS = sorted((ROOT / "models").glob("memstack_*"))
HEAVY = {"faiss", "hnswlib", "scann", "jax", "grpc", "qdrant_client", "qdrant_edge"}

# The one default of a configuration, and the word for a search that misses nothing.
NAMED = {
    "memstack/plugins/config.py": {"exact"},
    "memstack/cli/backends.py": {"exact"},
    "memstack/testing/wrapping.py": {"exact"},
}


def imported(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, wherever in the file; relative imports stay inside and do not count."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name in ("backends", "models") or name.startswith("memstack")}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_read() -> None:
    assert len(CORE) > 10
    assert {path.name for path in BACKENDS} >= {"memstack_exact", "memstack_hnsw"}
    assert [path.name for path in MODELS] == ["memstack_hf", "memstack_models"]


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_nothing_else_of_ours(path: Path) -> None:
    assert ours(path) <= {"memstack"}


@pytest.mark.parametrize("package", [*BACKENDS, *MODELS], ids=name_of)
def test_plugins_import_only_the_core_and_themselves(package: Path) -> None:
    found = {name_of(path): ours(path) - {"memstack", package.name} for path in package.rglob("*.py")}
    assert found
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_no_search_library(path: Path) -> None:
    assert not HEAVY & set(imported(path))


def backend_names(tree: ast.AST) -> set[str]:
    """The backends and backend packages that strings below this node name; docstrings and dictionary keys do not."""
    names = {offer.spec.name for offer in registry().offers()} | {package.name for package in BACKENDS}
    nodes = list(ast.walk(tree))
    passed = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    passed |= {id(key) for node in nodes if isinstance(node, ast.Dict) for key in node.keys}
    strings = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in passed)
    return {str(node.value) for node in strings if str(node.value).partition(":")[0].partition(".")[0] in names}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_names_no_backend_in_code(path: Path) -> None:
    assert backend_names(ast.parse(path.read_text())) <= NAMED.get(name_of(path), set())


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_decides_nothing_by_a_backends_name(path: Path) -> None:
    deciding = (ast.Compare, ast.match_case, ast.Subscript)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, deciding)]
    assert [ast.unparse(node) for node in nodes if backend_names(node)] == []


@pytest.mark.parametrize("package", [*BACKENDS, *MODELS], ids=name_of)
def test_a_plugins_first_module_imports_no_heavy_library(package: Path) -> None:
    own = {package.name} if package.name == "memstack_hf" else set()  # for types alone, and later
    assert (
        set(imported(package / "__init__.py")) <= {"memstack", "collections", "importlib", "tempfile", "typing"} | own
    )


def test_the_kit_can_be_used_without_pytest() -> None:
    kit = [path for path in CORE if path.parent.name == "testing"]
    assert kit
    assert not any("pytest" in imported(path) for path in kit)


def test_nothing_is_pickled() -> None:
    sources = [*CORE, *(path for package in (*BACKENDS, *MODELS) for path in package.rglob("*.py"))]
    assert not any({"pickle", "dill", "cloudpickle", "joblib"} & set(imported(path)) for path in sources)
