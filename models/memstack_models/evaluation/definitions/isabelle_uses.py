"""The uses of an Isabelle theory: of lemmas, theorems and definitions by their names, in proofs."""

import re
from collections.abc import Mapping

from memstack_models.evaluation.definitions.uses import Definition, Span, Use

STATED = "lemma|theorem|corollary|proposition|lemmas|schematic_goal"
DEFINED = "definition|abbreviation|fun|function|primrec|primcorec|inductive|inductive_set|partial_function"
NAME = r"[A-Za-z][\w']*"
DEFINES = re.compile(
    rf"\b(?:{STATED}|{DEFINED})\b\s*(?:\([^()]*\)\s*)?({NAME})(?=\s*(?:\[[^\[\]]*\]\s*)?(?:::|:|=|where\b))"
)
PROVED = re.compile(
    rf"\b(?:{STATED}|{DEFINED}|proof|by|using|unfolding|apply|including|supply|sorry|oops|text|section|subsection|"
    r"declare|context|locale|datatype|record|type_synonym|instance|instantiation|interpretation|end)\b"
)
FACT = re.compile(rf"(?:{STATED})\b")
LABEL = re.compile(r"\s*:")
"""Behind a word that is no reference: a part of a method's options, such as ``add:``, or what a proof names."""
WORD = re.compile(rf"({NAME}?)(?:_def)?(?![\w'])")
HIDDEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|\\<open>(?:(?!\\<open>|\\<close>).)*\\<close>|\u2039[^\u2039\u203a]*\u203a', re.DOTALL
)
COMMENT = re.compile(r"\(\*(?:(?!\(\*|\*\)).)*\*\)", re.DOTALL)


def isabelle_uses(text: str) -> list[Use]:
    """Return every place where a theory refers to a fact by the name that it gave it before.

    What stands in quotes, cartouches and comments is no reference: there a name is part of a term, or prose. A lemma is
    referred to by its name, a definition or function by ``NAME_def``, ``NAME.simps`` and the like. It is no parser of
    Isabelle: a fact within a proof that has the name of a lemma counts as that lemma.
    """
    outer = _blanked(text)
    byte = _bytes_before(text)
    known: dict[str, Definition] = {}
    facts: dict[str, bool] = {}
    uses: list[Use] = []
    defining = {found.start(1): found for found in DEFINES.finditer(outer)}
    for word in WORD.finditer(outer):
        if not word[0] or (word.start() and (outer[word.start() - 1].isalnum() or outer[word.start() - 1] in "_'.?")):
            continue
        if found := defining.get(word.start()):
            name = Span(byte[found.start(1)], byte[found.end(1)])
            known[found[1]] = Definition(name, Span(byte[found.start()], byte[_stated(outer, found.end())]))
            facts[found[1]] = bool(FACT.match(found[0]))
        elif (name := _fact_meant(word, facts)) and not LABEL.match(outer, word.end()):
            uses.append(Use(Span(byte[word.start()], byte[word.start() + len(name)]), known[name], name))
    return uses


def _fact_meant(word: re.Match[str], facts: Mapping[str, bool]) -> str | None:
    """The name that a word refers to: a lemma's own, or a definition's with what makes a fact of it."""
    if facts.get(word[0]):
        return word[0]
    derived = word[0] != word[1] or word.string[word.end() : word.end() + 1] == "."
    return word[1] if derived and word[1] in facts else None


def _stated(outer: str, start: int) -> int:
    """Where a statement ends: at its proof, or where the next begins."""
    found = PROVED.search(outer, start)
    return found.start() if found else len(outer)


def _blanked(text: str) -> str:
    """The text with spaces for all that is quoted, whatever is nested in it."""
    for pattern in (COMMENT, HIDDEN):
        before = ""
        while before != text:
            before, text = text, pattern.sub(lambda found: " " * len(found[0]), text)
    return text


def _bytes_before(text: str) -> list[int]:
    """How many bytes are before each character, and before the end."""
    places = [0]
    for character in text:
        places.append(places[-1] + len(character.encode()))
    return places
