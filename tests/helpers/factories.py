"""Every tensor that shipped code makes says its dtype and its device: ``python tests/helpers/factories.py`` lists those
that do not.

What is left out is whatever the process has set, with ``torch.set_default_dtype`` or ``torch.set_default_device``, in a
model's constructor for instance; and a pointer to it is handed to compiled code that reads float32.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SHIPPED = ("memstack", "backends", "models", "examples/plugin")
NUMBERS = {"zeros", "ones", "empty", "full", "eye", "arange", "range", "linspace", "logspace", "empty_strided"}
GIVEN = {"tensor", "as_tensor", "asarray", "scalar_tensor", "sparse_coo_tensor", "sparse_csr_tensor"}
DRAWN = {"rand", "randn", "randint", "randperm", "normal"}
OTHERS = {"tril_indices", "triu_indices", "empty_permuted", "hann_window", "hamming_window", "blackman_window"}
FACTORIES = NUMBERS | GIVEN | DRAWN | OTHERS
OLD = {"Tensor", "FloatTensor", "DoubleTensor", "HalfTensor", "BFloat16Tensor", "LongTensor", "IntTensor", "BoolTensor"}
"""Constructors that take no dtype at all."""


class Finding(NamedTuple):
    """A call that leaves something to the process."""

    path: str
    line: int
    call: str
    lacks: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: torch.{self.call} without {self.lacks}"


def findings(source: str, path: str) -> Iterator[Finding]:
    """The calls of a file that lack a dtype or a device."""
    tree = ast.parse(source)
    parameters = {id(made) for made in _inside_parameters(tree)}
    for node in ast.walk(tree):
        name = _factory(node)
        if not isinstance(node, ast.Call) or not name or id(node) in parameters:
            continue
        given = {keyword.arg for keyword in node.keywords}
        lacks = (
            [part for part in ("dtype", "device") if part not in given] if name in FACTORIES else ["a factory's name"]
        )
        if lacks:
            yield Finding(path, node.lineno, name, " and ".join(lacks))


def all_findings() -> list[Finding]:
    """Those of all that is shipped."""
    files = [path for folder in SHIPPED for path in sorted((ROOT / folder).rglob("*.py"))]
    return [
        finding for path in files for finding in findings(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


def _factory(node: ast.AST) -> str:
    """The name of a factory that is called as torch.NAME; empty for anything else."""
    called = node.func if isinstance(node, ast.Call) else None
    of_torch = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "torch"
    return called.attr if isinstance(called, ast.Attribute) and of_torch and called.attr in FACTORIES | OLD else ""


def _inside_parameters(tree: ast.AST) -> Iterator[ast.AST]:
    """What parameters are made of: a model's own are in the default dtype and on the default device, as torch's are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Parameter"):
            yield from node.args


if __name__ == "__main__":
    found = all_findings()
    sys.stdout.writelines(f"{finding}\n" for finding in found)
    sys.exit(bool(found))
