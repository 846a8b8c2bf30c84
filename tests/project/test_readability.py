"""Sizes that keep the house readable: entries of a folder, names handed on, lines of a function and of a file."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
ENTRIES = {"memstack": 12, "models/memstack_models": 8}
"""At the top level of a package, ``__init__.py`` and ``py.typed`` included."""
NAMES, FILE, FUNCTION, MEDIAN = 10, 300, 60, 8
"""Names that a folder's ``__init__`` hands on at most; lines of a file, of a function, and of the median function."""
IGNORED = [".*", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())]
SOURCES = ("memstack", "backends", "models", "benchmarks", "tests")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_source(path: Path) -> bool:
    """Not hidden and not what git is told to ignore, such as a cache or a run."""
    return not any(fnmatch(path.name, pattern) for pattern in IGNORED)


def python_files(folder: Path) -> Iterator[Path]:
    """All Python files of the repository below a folder."""
    for path in sorted(filter(is_source, folder.iterdir())):
        if path.is_dir():
            yield from python_files(path)
        elif path.suffix == ".py":
            yield path


PYTHON = list(python_files(ROOT))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    """The functions of a file, those inside others included."""
    return (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, Function))


def lines(function: Function) -> int:
    """From ``def`` to the last line."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def is_kernel(function: Function) -> bool:
    """Triton compiles it: a kernel cannot be cut into functions as others can."""
    return any("triton.jit" in ast.unparse(decorator) for decorator in function.decorator_list)


def handed_on(path: Path) -> set[str]:
    """The public names that an ``__init__.py`` imports or defines."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(alias.asname or alias.name).partition(".")[0] for node in imports for alias in node.names}
    names |= {node.name for node in body if isinstance(node, Function | ast.ClassDef)}
    assigned = (node for assign in body if isinstance(assign, ast.Assign) for node in assign.targets)
    names |= {node.id for node in assigned if isinstance(node, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_there_is_something_to_measure() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in PYTHON} >= {*SOURCES}
    assert any(is_kernel(function) for path in PYTHON for function in functions(path))


@pytest.mark.parametrize(("package", "most"), ENTRIES.items())
def test_the_top_level_of_a_package_is_seen_at_a_glance(package: str, most: int) -> None:
    entries = [path.name for path in (ROOT / package).iterdir() if is_source(path)]
    assert 3 < len(entries) <= most, f"{package}/ has {len(entries)} entries, {most} are allowed: {sorted(entries)}"


def test_a_folder_hands_on_few_names() -> None:
    folders = [path for path in PYTHON if path.name == "__init__.py" and path.parent != ROOT / "memstack"]
    found = {name_of(path): len(handed_on(path)) for path in folders}
    over = {path: count for path, count in found.items() if count > NAMES}
    assert not over, f"at most {NAMES} names; import the others from the modules that define them: {over}"


def test_no_file_is_long() -> None:
    found = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PYTHON}
    over = {path: count for path, count in found.items() if count > FILE}
    assert not over, f"at most {FILE} lines; split by subject: {over}"


def test_no_function_is_long_but_kernels() -> None:
    found = {
        (name_of(path), each.name): lines(each) for path in PYTHON for each in functions(path) if not is_kernel(each)
    }
    over = {name: count for name, count in found.items() if count > FUNCTION}
    assert not over, f"at most {FUNCTION} lines; split by step: {over}"


@pytest.mark.parametrize("source", SOURCES)
def test_the_median_function_is_short(source: str) -> None:
    found = [lines(each) for path in PYTHON if name_of(path).startswith(f"{source}/") for each in functions(path)]
    assert median(found) <= MEDIAN, f"half of the {len(found)} functions in {source}/ have over {MEDIAN} lines"
