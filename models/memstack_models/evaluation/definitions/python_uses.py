"""The uses of a Python text: of functions, classes, methods, and what a module, a class or ``self`` is assigned."""

import ast
import re
import warnings
from collections import defaultdict
from contextlib import contextmanager
from typing import Any

from memstack_models.evaluation.definitions.uses import Definition, Span, Use

HEAD = re.compile(rb"(?:async\s+)?(?:def|class)\s+")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = int | None
"""A class, by the identity of its node; None is the module."""


def python_uses(text: str) -> list[Use]:
    """Return every use of a name whose definition the text has before it; ValueError for what is no Python.

    A plain name means what the module defines, or the class whose body it stands in, unless a function around it has
    a name of its own like it; ``self.name`` and ``cls.name`` mean what their class defines. Defined again, a name means
    the last definition before its use. What is imported keeps the meaning that the text gave it, for the files of a
    package are one text.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"it is no Python {error}") from None
    visitor = _Visitor(text.encode())
    visitor.visit(tree)
    return sorted(visitor.uses)


class _Visitor(ast.NodeVisitor):
    """Walks a module in the order of its text: what is known is what has been defined so far."""

    def __init__(self, content: bytes) -> None:
        self.uses: list[Use] = []
        self._content = content
        self._lines = [0, *(found.end() for found in re.finditer(rb"\r\n|\r|\n", content))]
        self._known: dict[Scope, dict[str, Definition]] = defaultdict(dict)
        self._classes: list[ast.ClassDef] = []
        self._own: list[set[str]] = []
        """Of each function around, the names that are its own."""

    # Definitions

    def visit_FunctionDef(self, node: Function) -> None:
        self._define_head(node)
        self._visit_all([*node.decorator_list, node.args, node.returns])
        self._own.append(_own_names(node))
        self._visit_all(node.body)
        self._own.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._define_head(node)
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        with self._inside(node):
            self._visit_all(node.body)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assign(node, node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_all([node.annotation])
        self._assign(node, [node.target], node.value)

    # Uses

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load) or any(node.id in own for own in self._own):
            return
        scope = self._class if not self._own else None
        self._use(node.id, [scope, None], self._place(node))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._is_own(node) and isinstance(node.ctx, ast.Load):
            end = self._end(node)
            self._use(node.attr, [self._class], Span(end - len(node.attr.encode()), end))
        else:
            self.visit(node.value)

    # What they have in common

    @property
    def _class(self) -> Scope:
        return id(self._classes[-1]) if self._classes else None

    @contextmanager
    def _inside(self, node: ast.ClassDef) -> Any:
        """In the body of a class, which sees no names of functions around it."""
        self._classes.append(node)
        yield
        self._classes.pop()

    def _visit_all(self, nodes: Any) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _start(self, node: Any) -> int:
        return self._lines[node.lineno - 1] + node.col_offset

    def _end(self, node: Any) -> int:
        return self._lines[node.end_lineno - 1] + node.end_col_offset

    def _place(self, node: Any) -> Span:
        return Span(self._start(node), self._end(node))

    def _is_own(self, node: ast.Attribute) -> bool:
        return bool(self._classes) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")

    def _define_head(self, node: Function | ast.ClassDef) -> None:
        """A function or class that the module or a class defines; one inside a function is that function's matter."""
        start = self._start(node)
        head = HEAD.match(self._content, start)
        if head and not self._own:
            name = Span(head.end(), head.end() + len(node.name.encode()))
            self._known[self._class][node.name] = Definition(name, Span(start, self._start(node.body[0])))

    def _assign(self, node: ast.stmt, targets: list[ast.expr], value: ast.expr | None) -> None:
        self._visit_all([value])
        for target in targets:
            end = self._end(target)
            if isinstance(target, ast.Name) and not self._own:
                self._known[self._class][target.id] = Definition(self._place(target), self._place(node))
            elif isinstance(target, ast.Attribute) and self._is_own(target):
                name = Span(end - len(target.attr.encode()), end)
                self._known[self._class][target.attr] = Definition(name, self._place(node))
            else:
                self.visit(target)

    def _use(self, name: str, scopes: list[Scope], place: Span) -> None:
        found = (self._known[scope].get(name) for scope in scopes)
        definition = next(filter(None, found), None)
        # An identifier that Python reads in another normal form is another text.
        if definition and self._content[place.start : place.end] == name.encode():
            self.uses.append(Use(place, definition, name))


def _own_names(function: Function) -> set[str]:
    """The names that a function binds itself, or one inside of it: they mean nothing outside."""
    named, shared = set[str](), set[str]()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            named.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            named.add(node.id)
        elif isinstance(node, Function | ast.ClassDef) and node is not function:
            named.add(node.name)
        elif isinstance(node, ast.alias):
            named.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Global):
            shared.update(node.names)
    return named - shared
