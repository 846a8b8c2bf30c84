"""The kit for corpora: it passes what is sound, and catches what is broken at the promise it breaks."""

from pathlib import Path

import pytest
from helpers.corpus_mutants import BROKEN, Letters
from helpers.environment import Environment, write_wheel

import memstack
from memstack.plugins.registry import Registry
from memstack.testing import CorpusContract, check_corpus, promises

OTHER_PROCESS = {"test_another_process_reads_the_same", "test_listing_imports_nothing"}
HERE = [name for name in promises(CorpusContract) if name not in OTHER_PROCESS]
EAGER = """
import memstack
import mailbox

@memstack.hookimpl
def memstack_corpora():
    requires = ("mailbox",)
    return [memstack.CorpusSpec(name="eager", target="eager_plugin:Eager", summary="", source="", licence="",
                                requires=requires)]

class Eager(memstack.Corpus):
    def __init__(self, options):
        pass

    def documents(self, split):
        yield memstack.Document(memstack.check_split(split), split)
"""


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with the sound corpus and every broken one."""
    found = Registry()

    class Plugin:
        @memstack.hookimpl
        def memstack_corpora(self) -> list[memstack.CorpusSpec]:
            classes = [Letters, *(broken for broken, _ in BROKEN.values())]
            return [
                memstack.CorpusSpec(
                    name=each.__name__,
                    target=f"helpers.corpus_mutants:{each.__name__}",
                    summary="a test",
                    source="here",
                    licence="CC0-1.0",
                )
                for each in classes
            ]

    found.register(Plugin(), "mutants")
    monkeypatch.setattr("memstack.testing.corpus_contract.registry", lambda: found)
    return found


@pytest.mark.usefixtures("mutants")
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_corpus_fails_at_the_promise_it_breaks(name: str) -> None:
    _, expected = BROKEN[name]
    report = check_corpus(name, only={*HERE, *expected})
    failed = {result.name for result in report.failed}
    assert failed >= expected, str(report)
    assert all(result.detail for result in report.failed)


@pytest.mark.usefixtures("mutants")
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_one_bug_does_not_hide_the_promises_that_are_kept(name: str) -> None:
    _, expected = BROKEN[name]
    allowed = expected | {"test_a_second_reading_is_the_same", "test_readings_do_not_disturb_each_other"}
    assert {result.name for result in check_corpus(name, only=HERE).failed} <= allowed


@pytest.mark.usefixtures("mutants")
def test_a_sound_corpus_keeps_every_promise() -> None:
    report = check_corpus("Letters")
    assert report.passed, str(report)
    assert all(result.outcome == "pass" for result in report)


def test_a_corpus_is_tested_before_it_is_registered() -> None:
    report = check_corpus(Letters)
    assert report.passed, str(report)
    unregistered = OTHER_PROCESS | {"test_an_unknown_option_is_refused"}
    assert {result.name for result in report if result.outcome == "not run"} == unregistered


def test_an_unknown_corpus_or_promise_is_an_error_and_not_a_report() -> None:
    with pytest.raises(memstack.UnknownCorpusError, match="python-stdlib"):
        check_corpus("python-stdlb")
    with pytest.raises(memstack.OptionsError, match="shars"):
        check_corpus("folder", {"path": ".", "shars": 1})
    with pytest.raises(ValueError, match="test_no_nane"):
        check_corpus(Letters, only=["test_no_nane"])


def test_every_promise_says_what_it_is() -> None:
    assert len(promises(CorpusContract)) == 12
    for name in promises(CorpusContract):
        lines = (getattr(CorpusContract, name).__doc__ or "").splitlines()
        assert len(lines) == 1, name
        assert lines[0].endswith("."), name


def test_only_the_first_documents_of_a_large_corpus_are_read() -> None:
    class Endless(Letters):
        def documents(self, split: memstack.Split):  # type: ignore[override]
            memstack.check_split(split)
            number = 0
            while True:
                yield memstack.Document(f"{split}/{number}", f"{split} {number}")
                number += 1

    assert check_corpus(Endless).passed


def test_a_plugin_that_imports_on_listing_is_caught(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.install(write_wheel(environment.work, "eager-plugin", "eager", EAGER))
    chosen = "'eager', only=['test_listing_imports_nothing']"
    code = f"from memstack.testing import check_corpus; print(check_corpus({chosen}))"
    assert "listing corpora imports eager_plugin mailbox" in environment.must("-c", code).out
