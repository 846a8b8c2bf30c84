"""What counts as a use of a name and as its definition: by the syntax tree of Python, the outer syntax of Isabelle."""

import pytest
from memstack_models.evaluation.definitions.isabelle_uses import isabelle_uses
from memstack_models.evaluation.definitions.python_uses import python_uses
from memstack_models.evaluation.definitions.uses import Mentions, Span, Use

PYTHON = """\
LIMIT: int = 3  # Ä, so that bytes are no characters
@staticmethod
def helper(x, y=LIMIT):
    LIMIT = 4
    return LIMIT + helper(x)

class Base: pass

class Thing(Base):
    size = 1
    half = size / 2

    async def method(self):
        self.value = helper(1)
        return self.method, self.value, self.other, other.method

    def later(self):
        def inner(): return inner
        return size, Thing

helper = None
print(helper)
"""
ISABELLE = """\
lemma (in ring) first[simp]: "a = \\<open>first\\<close>"  (* first (* first *) *)
  by simp
definition add :: "nat" where "add = first"
fun size where "size x = 1"
lemma second:
  assumes "add x"
  shows "first"
  using first[of x] assms add by (simp add: first add_def size.simps first_order)
lemma "unnamed" by (rule second)
have first: "x" unfolding add_def using first' .
"""


def described(text: str, uses: list[Use]) -> list[tuple[str, int, str]]:
    """Each use's name, the line it is in, and the statement that defines it, in one line."""
    content = text.encode()
    for use in uses:
        for span in (use.name, use.definition.name):
            assert content[span.start : span.end].decode() == use.text
    lines = [content[: use.name.start].count(b"\n") + 1 for use in uses]
    said = [content[slice(*use.definition.statement)].decode() for use in uses]
    return [(use.text, line, " ".join(each.split())) for use, line, each in zip(uses, lines, said, strict=True)]


def test_python_uses_are_those_of_scopes() -> None:
    """A function's own names are its own; a class's are seen in its body and by self; the last definition counts."""
    head, defined = "def helper(x, y=LIMIT):", "LIMIT: int = 3"
    assert described(PYTHON, python_uses(PYTHON)) == [
        ("LIMIT", 3, defined),
        ("helper", 5, head),
        ("Base", 9, "class Base:"),
        ("size", 11, "size = 1"),
        ("helper", 14, head),
        ("method", 15, "async def method(self):"),
        ("value", 15, "self.value = helper(1)"),
        ("Thing", 19, "class Thing(Base):"),
        ("helper", 22, "helper = None"),
    ]


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(ValueError, match="it is no Python"):
        python_uses("def f(:")


def test_isabelle_uses_are_references_to_facts() -> None:
    """Not what is quoted or in comments; not a method's option, a label, or a definition without what makes a fact."""
    first = 'lemma (in ring) first[simp]: "a = \\<open>first\\<close>" (* first (* first *) *)'
    second = 'lemma second: assumes "add x" shows "first"'
    added = 'definition add :: "nat" where "add = first"'
    assert described(ISABELLE, isabelle_uses(ISABELLE)) == [
        ("first", 8, first),
        ("first", 8, first),
        ("add", 8, added),
        ("size", 8, 'fun size where "size x = 1"'),
        ("second", 9, second),
        ("add", 10, added),
    ]


def test_mentions_are_whole_words_before_a_place() -> None:
    mentions = Mentions("é size sizes size size", {"size"})
    assert mentions.before("size", 15) == [Span(3, 7), Span(14, 18)]
    assert mentions.before("size", 14) == [Span(3, 7)]
