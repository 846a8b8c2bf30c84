"""Isabelle theories: what one imports, and the order in which those of an entry build on each other."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

# What may stand before a theory's header and contain anything: comments, and texts in cartouches or {* *}.
_OPENS = re.compile(r"\(\*|\\<open>|\u2039|\{\*")
_MARKS = {"(*": ("(*", "*)"), "\\<open>": ("\\<open>", "\\<close>"), "\u2039": ("\u2039", "\u203a"), "{*": ("{*", "*}")}
_HEADER = re.compile(r"(?:^|\s)theory\s+(\S+)\s+imports\s+(.*?)(?:\s(?:keywords|abbrevs|uses|begin)\b|$)", re.DOTALL)
_NAME = re.compile(r'"([^"]+)"|([^\s"]+)')
LONGEST_HEADER = 1 << 16
"""Characters of a theory in which its header is looked for."""


def imports_of(theory: str) -> list[str]:
    """Return what a theory imports, as it is written there, such as ``Main``, ``HOL-Library.Multiset``, ``../Base``."""
    header = _HEADER.search(_without_comments(theory[:LONGEST_HEADER]))
    return [quoted or bare for quoted, bare in _NAME.findall(header[2])] if header else []


def in_import_order(theories: Mapping[str, str]) -> list[str]:
    """Return the paths of theories, given with their texts, so that each comes after those of them that it imports.

    Otherwise they follow their names. Of theories that import each other in a circle, one comes first all the same.
    """
    places: dict[str, list[str]] = {}
    for path in sorted(theories):
        places.setdefault(PurePosixPath(path).stem, []).append(path)
    needs = {path: _resolved(path, imports_of(text), places) for path, text in theories.items()}
    ordered: dict[str, None] = {}
    entered: set[str] = set()
    for path in sorted(theories):
        left = [(path, iter(needs[path]))] if path not in entered else []
        entered.add(path)
        while left:
            at, further = left[-1]
            following = next((each for each in further if each not in entered), None)
            if following is None:
                ordered[at] = None
                left.pop()
            else:
                entered.add(following)
                left.append((following, iter(needs[following])))
    return list(ordered)


def _resolved(path: str, imports: Sequence[str], places: Mapping[str, Sequence[str]]) -> list[str]:
    """The paths of what a theory imports, as far as they are among these; the nearest of several of one name."""
    folder, found = PurePosixPath(path).parent, list[str]()
    for name in imports:
        candidates = places.get(PurePosixPath(name.replace("\\", "/")).name.rpartition(".")[2], ())
        if candidates:
            same = [each for each in candidates if PurePosixPath(each).parent == folder]
            found.append((same or list(candidates))[0])
    return [each for each in found if each != path]


def _without_comments(text: str) -> str:
    """The text without comments and cartouches, which may be nested in their own kind."""
    kept, at = list[str](), 0
    while opening := _OPENS.search(text, at):
        kept.append(text[at : opening.start()])
        at = _end_of(text, opening.end(), *_MARKS[opening[0]])
    return " ".join([*kept, text[at:]])


def _end_of(text: str, at: int, opens: str, closes: str) -> int:
    """Where what was opened just before ends; the text's end if it does not."""
    depth = 1
    marks = re.compile(f"{re.escape(opens)}|{re.escape(closes)}")
    while depth and (mark := marks.search(text, at)):
        depth += 1 if mark[0] == opens else -1
        at = mark.end()
    return at if not depth else len(text)
