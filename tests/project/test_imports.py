"""Imports between the folders of a package lead down its declared layers, and never round a circle."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.imports import ROOT, Arrow, Package, packages, picture, violations

PACKAGES = list(packages())


@pytest.mark.parametrize("package", PACKAGES, ids=[package.folder.name for package in PACKAGES])
def test_imports_lead_down_and_round_no_circle(package: Package) -> None:
    assert package.parts
    assert violations(package) == []


def test_the_core_the_models_the_backends_and_the_benchmarks_are_looked_at() -> None:
    names = [package.folder.name for package in PACKAGES]
    assert names[:2] == ["memstack", "memstack_models"]
    assert names[-1] == "benchmarks"
    assert {"memstack_exact", "memstack_hnsw"} < {*names}


def test_the_command_prints_a_picture_of_each_without_anything_installed() -> None:
    line = [sys.executable, "-I", "-S", str(ROOT / "tests" / "helpers" / "imports.py")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == "\n\n".join(map(picture, PACKAGES)) + "\n"


def package(folder: Path, *order: tuple[str, ...], **modules: str) -> Package:
    """A package called toy; each module lies in a folder of the same name."""
    for name, code in {"__init__": "", **modules}.items():
        path = folder / "toy" / ("__init__.py" if name == "__init__" else f"{name}/code.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return Package(folder / "toy", order)


@pytest.mark.parametrize(
    "code",
    [
        "import toy.high.code",
        "from toy.high import code",
        "from toy import high",
        "from ..high import code",
        "from .. import high",
        "def later():\n    from toy.high.code import thing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.high.code import Thing",
    ],
    ids=["import", "from", "of the package", "relative", "relative, of the package", "in a function", "for types"],
)
def test_an_arrow_upward_is_named_with_its_place(tmp_path: Path, code: str) -> None:
    made = package(tmp_path, ("__init__.py",), ("low",), ("high",), low=code, high="")
    assert made.upward == [Arrow("low", "high")]
    assert violations(made) == [f"UPWARD: low -> high, by low/code.py:{code.count(chr(10)) + 1}"]
    assert violations(made)[0] in picture(made)


def test_a_circle_is_named_with_or_without_an_order(tmp_path: Path) -> None:
    modules = {"one": "import toy.two.code", "two": "import toy.three.code", "three": "import toy.one.code", "four": ""}
    made = package(tmp_path, **modules)
    assert violations(made) == ["CIRCLE: one, three, two"]
    assert made.layers == [["__init__.py", "four", "one", "three", "two"]]
    ordered = package(tmp_path, ("__init__.py",), ("one", "two", "three", "four"), **modules)
    assert violations(ordered) == ["CIRCLE: one, three, two"]


def test_what_only_the_package_itself_hands_on_is_its_own(tmp_path: Path) -> None:
    made = package(
        tmp_path, __init__="from toy.low import code", low="from toy import thing", high="import toy\nimport toy.low"
    )
    assert made.arrows == {
        Arrow("__init__.py", "low"): ["__init__.py:1"],
        Arrow("low", "__init__.py"): ["low/code.py:1"],
        Arrow("high", "__init__.py"): ["high/code.py:1"],
        Arrow("high", "low"): ["high/code.py:2"],
    }


def test_a_folder_without_a_place_in_the_order_is_named(tmp_path: Path) -> None:
    made = package(tmp_path, ("__init__.py",), ("low",), low="", new="")
    assert violations(made) == ["WITHOUT A LAYER in tests/helpers/imports.py: new"]


def test_layers_without_an_order_are_as_low_as_the_imports_let_them_be(tmp_path: Path) -> None:
    made = package(
        tmp_path, top="import toy.left.code, toy.right.code", left="import toy.base", right="import toy.base", base=""
    )
    assert made.layers == [["__init__.py", "base"], ["left", "right"], ["top"]]
    assert picture(made).splitlines()[1:] == [
        "   3  top           -> right 1, left 1",
        "   2  right         -> base 1",
        "   2  left          -> base 1",
        "   1  base",
        "   1  __init__.py",
    ]
