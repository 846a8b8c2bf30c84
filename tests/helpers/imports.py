"""Who imports whom between the folders of each package, as text: ``make imports``; a test holds what it shows.

It reads syntax trees: nothing is imported, and nothing has to be installed. Every import statement counts, also one
inside a function or below ``if TYPE_CHECKING``, for what is needed later, or by the types alone, is needed too. A
target that a plugin's record names as text, such as ``"memstack_hnsw.index:HNSWMemory"``, is no import.
"""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
Layers = Sequence[Sequence[str]]
ORDERS: Mapping[str, Layers] = {
    "memstack": (
        ("contract",),
        ("plugins",),
        ("store",),
        ("wrappers",),
        ("attention", "bank.py"),
        ("__init__.py",),
        ("measure",),
        ("testing",),
        ("cli",),
        ("__main__.py",),
    ),
    "models/memstack_models": (
        ("__init__.py",),
        ("transformer", "data"),
        ("training",),
        ("evaluation",),
        ("report",),
        ("cli",),
    ),
    "benchmarks": (("__init__.py", "pages.py"), ("suite",), ("goals",)),
}
"""The layers of a package from the lowest up: each part imports only from its own layer and those below. A package
without an entry, such as a backend, has the layers that its imports make."""


class Arrow(NamedTuple):
    """One part of a package imports from another."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


class Package:
    """The folders and modules at the top level of a package, its parts, and the arrows between them."""

    def __init__(self, folder: Path, order: Layers = ()) -> None:
        self.folder = folder
        self.order = order
        self.files = sorted(folder.rglob("*.py"))
        self.parts = sorted({self._part(path) for path in self.files})
        self.arrows: dict[Arrow, list[str]] = {}
        """Where each comes from: ``file.py:line`` of every statement."""
        self.others: dict[str, int] = {}
        """How many statements import from each of memstack's other packages."""
        for path in self.files:
            for line, names in statements(path, folder.parent):
                self._note(path, line, names)

    def _note(self, path: Path, line: int, names: set[str]) -> None:
        source, place = self._part(path), f"{path.relative_to(self.folder)}:{line}"
        for package in {name.partition(".")[0] for name in names}:
            if package.startswith("memstack") and package != self.folder.name:
                self.others[package] = self.others.get(package, 0) + 1
        for target in {self._target(name) for name in names} - {source, ""}:
            self.arrows.setdefault(Arrow(source, target), []).append(place)

    def _part(self, path: Path) -> str:
        return path.relative_to(self.folder).parts[0]

    def _target(self, name: str) -> str:
        """The part that a dotted name of this package lies in: ``__init__.py`` if in no other."""
        package, inside = (*name.split("."), "")[:2]
        if package != self.folder.name:
            return ""
        return next((part for part in (inside, f"{inside}.py") if part in self.parts), "__init__.py")

    def needs(self, part: str) -> set[str]:
        """The parts that one imports, directly or through others; itself only if it is in a circle."""
        needed: set[str] = set()
        fresh = {part}
        while fresh:
            fresh = {arrow.target for arrow in self.arrows if arrow.source in fresh} - needed
            needed |= fresh
        return needed

    @cached_property
    def circles(self) -> list[list[str]]:
        """Parts that need each other."""
        found = {tuple(part for part in self.parts if part in self._circle(start)) for start in self.parts}
        return sorted(list(circle) for circle in found if circle)

    @cached_property
    def upward(self) -> list[Arrow]:
        """Arrows to a layer above. Where no order is declared there are none: what leads back is a circle."""
        level = {part: place for place, layer in enumerate(self.layers) for part in layer}
        return sorted(arrow for arrow in self.arrows if level[arrow.target] > level[arrow.source])

    @cached_property
    def unplaced(self) -> list[str]:
        """Parts that the declared order does not name, where there is one."""
        placed = {part for layer in self.order for part in layer}
        return [part for part in self.parts if self.order and part not in placed]

    @cached_property
    def layers(self) -> Layers:
        """The parts from the lowest layer up: as declared, then what is not; or each as low as its imports let it."""
        order = [*self.order, self.unplaced] if self.order else self._by_imports()
        return [layer for layer in ([part for part in layer if part in self.parts] for layer in order) if layer]

    def _by_imports(self) -> Layers:
        layers: list[list[str]] = []
        rest = set(self.parts)
        while rest:
            # Round a circle each part needs the others: they share a layer.
            layers.append(sorted(part for part in rest if not rest & self.needs(part) - {part} - self._circle(part)))
            rest -= {*layers[-1]}
        return layers

    def _circle(self, part: str) -> set[str]:
        return {other for other in self.needs(part) if part in self.needs(other)}


def statements(path: Path, root: Path) -> Iterator[tuple[int, set[str]]]:
    """The line of each import statement of a file below a source root, and the dotted names that it imports."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield node.lineno, {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, {f"{module}.{alias.name}" for alias in node.names}


def packages(root: Path = ROOT) -> Iterator[Package]:
    """The core, the models, every backend, and the benchmarks."""
    backends = (f"backends/{folder.name}" for folder in sorted((root / "backends").glob("memstack_*")))
    for name in ("memstack", "models/memstack_models", *backends, "benchmarks"):
        yield Package(root / name, ORDERS.get(name, ()))


def picture(package: Package) -> str:
    """A package's parts from the top layer down, each with what it imports and in how many statements."""
    counts: dict[tuple[str, str], int] = {arrow: len(places) for arrow, places in package.arrows.items()}
    others = "".join(f", {count} from {name}" for name, count in sorted(package.others.items()))
    lines = [f"{package.folder.name}: arrows {len(counts)}, import statements {sum(counts.values())}{others}"]
    parts = [(level, part) for level, layer in enumerate(package.layers, 1) for part in layer][::-1]
    for level, part in parts:
        told = ", ".join(f"{other} {counts[part, other]}" for _, other in parts if (part, other) in counts)
        lines.append(f"{level:>4}  {part:<14}{f'-> {told}' if told else ''}".rstrip())
    return "\n".join([*lines, *(f"      {line}" for line in violations(package))])


def violations(package: Package) -> list[str]:
    """What a package's imports break, a line each: circles, arrows upward, parts without a place in the order."""
    return [
        *(f"CIRCLE: {', '.join(circle)}" for circle in package.circles),
        *(f"UPWARD: {arrow}, by {', '.join(package.arrows[arrow])}" for arrow in package.upward),
        *(f"WITHOUT A LAYER in tests/helpers/imports.py: {part}" for part in package.unplaced),
    ]


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(map(picture, packages())) + "\n")
