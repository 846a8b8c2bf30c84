"""Corpora as plugins: listed without an import, made by name, and every mistake names its mend."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import memstack
from memstack.plugins.registry import Registry, registry
from memstack.plugins.specs import import_target

LISTING = """
import sys
import memstack
found = {spec.name: spec for spec in memstack.corpora()}
assert {"folder", "python-stdlib"} <= found.keys(), found
assert [spec.missing() for spec in found.values()]
assert not [name for name in sys.modules if name.startswith("memstack_") and name.count(".")], "a corpus was imported"
"""


class Plugin:
    """A stranger's plugin with these corpora."""

    def __init__(self, *specs: memstack.CorpusSpec) -> None:
        self.specs = specs

    @memstack.hookimpl
    def memstack_corpora(self) -> Sequence[memstack.CorpusSpec]:
        return self.specs


class BrokenPlugin:
    @memstack.hookimpl
    def memstack_corpora(self) -> Sequence[memstack.CorpusSpec]:
        raise RuntimeError("no licence")


class NonsensePlugin:
    @memstack.hookimpl
    def memstack_corpora(self) -> Any:
        return ["theirs"]


class Poems(memstack.Corpus):
    """Poems of so many lines."""

    class Options(memstack.CorpusOptions):
        lines: int = 4

    def __init__(self, options: Options) -> None:
        self.options = options

    def documents(self, split: memstack.Split) -> Iterator[memstack.Document]:
        yield memstack.Document(f"{memstack.check_split(split)} poem", "la\n" * self.options.lines)


def spec(name: str, target: str = f"{__name__}:Poems", **fields: Any) -> memstack.CorpusSpec:
    return memstack.CorpusSpec(name=name, target=target, summary="a test", source="here", licence="CC0-1.0", **fields)


@pytest.fixture
def plugins() -> Registry:
    found = Registry()
    found.register(Plugin(spec("poems"), spec("hymns")), "first")
    return found


def test_listing_corpora_imports_none() -> None:
    done = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_bundled_corpora_come_from_their_entry_point() -> None:
    offers = {offer.spec.name: offer for offer in registry().corpus_offers()}
    assert {"folder", "python-stdlib"} <= offers.keys()
    assert offers["folder"].plugin == "models"
    assert offers["folder"].distribution.startswith("memstack ")


def test_every_registered_spec_is_complete() -> None:
    for found in memstack.corpora():
        assert found.summary
        assert found.source
        assert found.licence
        assert found.install or not found.requires
        assert found.missing() or issubclass(import_target(found.target), memstack.Corpus)


def test_specs_are_sorted_by_name(plugins: Registry) -> None:
    assert [found.name for found in plugins.corpora()] == ["hymns", "poems"]


def test_a_registered_corpus_is_made_with_its_options(plugins: Registry) -> None:
    corpus = plugins.create_corpus("poems", lines=2)
    assert isinstance(corpus, Poems)
    assert list(corpus.documents("test")) == [memstack.Document("test poem", "la\nla\n")]
    assert corpus.notice() is None


def test_an_unknown_corpus_names_the_nearest_and_the_list(plugins: Registry) -> None:
    message = r"no corpus is called 'poem'; did you mean 'poems'\? \(registered: hymns, poems\)"
    with pytest.raises(memstack.UnknownCorpusError, match=message):
        plugins.create_corpus("poem")


def test_two_plugins_with_one_corpus_are_both_named(plugins: Registry) -> None:
    plugins.register(Plugin(spec("poems")), "second")
    message = "corpus 'poems' is offered by both plugin 'first' and plugin 'second'; rename or uninstall one of them"
    with pytest.raises(memstack.DuplicateCorpusError, match=message):
        plugins.create_corpus("poems")
    assert plugins.problems() == (message,)
    assert plugins.corpus_spec("hymns").name == "hymns"


@pytest.mark.parametrize(("install", "wanted"), [("mine[texts]", "mine[texts]"), ("", "no_such_library")])
def test_a_missing_library_names_the_pip_line(plugins: Registry, install: str, wanted: str) -> None:
    plugins.register(Plugin(spec("absent", requires=("torch", "no_such_library"), install=install)), "third")
    with pytest.raises(memstack.CorpusUnavailableError) as caught:
        plugins.create_corpus("absent")
    assert str(caught.value) == f"corpus 'absent' needs no_such_library: pip install '{wanted}'"


def test_a_corpus_that_cannot_be_imported_says_from_where(plugins: Registry) -> None:
    plugins.register(Plugin(spec("hollow", "no_such_module:Corpus")), "third")
    message = "corpus 'hollow' cannot be imported from no_such_module:Corpus: ModuleNotFoundError"
    with pytest.raises(memstack.CorpusUnavailableError, match=message):
        plugins.create_corpus("hollow")


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (BrokenPlugin(), "RuntimeError: no licence"),
        (NonsensePlugin(), "TypeError: it should return CorpusSpecs, got 'theirs'"),
    ],
)
def test_a_broken_plugin_harms_no_other_and_is_named(plugins: Registry, plugin: object, reason: str) -> None:
    plugins.register(plugin, "broken")
    assert [found.name for found in plugins.corpora()] == ["hymns", "poems"]
    assert plugins.broken == {"broken": f"memstack_corpora: {reason}"}
    with pytest.raises(memstack.UnknownCorpusError, match=f"plugin 'broken' is broken: memstack_corpora: {reason}"):
        plugins.create_corpus("theirs")


def test_an_option_it_does_not_have_names_the_nearest(plugins: Registry) -> None:
    with pytest.raises(memstack.OptionsError, match=r"corpus 'poems': line is not a known key; did you mean 'lines'\?"):
        plugins.create_corpus("poems", line=3)
    with pytest.raises(memstack.OptionsError, match=r"corpus 'poems': lines: .*got 'many'"):
        plugins.create_corpus("poems", lines="many")


def test_an_unknown_split_names_the_nearest() -> None:
    assert memstack.check_split("train") == "train"
    with pytest.raises(
        memstack.CorpusError, match=r"there is no split 'trian'; did you mean 'train'\? \(known: train,"
    ):
        memstack.check_split("trian")
