"""CorpusContract: every promise of a corpus as a test method, for pytest or for ``check_corpus``."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, zip_longest
from typing import Any, cast
from unittest import SkipTest

from memstack.contract.corpus import SPLITS, Corpus, Document, Split
from memstack.contract.errors import CorpusError, OptionsError
from memstack.plugins.registry import registry
from memstack.testing.assertions import ensure, ensure_raises
from memstack.testing.reading import Seen, digest, elsewhere, imported_by_listing

UNKNOWN = "no-such-option"


class CorpusContract:
    """The promises that every corpus keeps.

    In a plugin's tests::

        from memstack.testing import CorpusContract

        class TestMine(CorpusContract):
            corpus = "my-corpus"

    One method tests one promise, which is its docstring. ``options`` replace the spec's ``test_options``; of each split
    the first ``longest_reading`` documents are read, so that a corpus larger than a disk can be tested.
    """

    corpus: str | Callable[[], Corpus] = ""
    """What is tested: the name of a registered corpus, or a callable that makes one."""
    options: Mapping[str, Any] | None = None
    """The corpus's options; by default its spec's ``test_options``."""
    longest_reading: int = 200
    """Documents of each split that are read."""

    def make(self) -> Corpus:
        """Build the corpus under test."""
        if isinstance(self.corpus, str):
            return registry().create_corpus(self.corpus, **self._given)
        return self.corpus()

    def test_every_split_has_documents(self) -> None:
        """Train, validation and test have a document each."""
        for split in SPLITS:
            ensure(bool(self._seen[split]), f"the {split} split has no documents")

    def test_documents_have_names_and_texts(self) -> None:
        """A document has a name, and a text that is not blank and that UTF-8 can write."""
        for split in SPLITS:
            for document in self._seen[split]:
                ensure(not document.problem, f"{split}: {document.problem}")

    def test_no_name_comes_twice(self) -> None:
        """No two documents share a name, within a split or across splits."""
        names = Counter(document.name for split in SPLITS for document in self._seen[split])
        twice = [name for name, count in names.items() if count > 1]
        ensure(not twice, f"{len(twice)} names come more than once, such as {twice[:1]}")

    def test_no_text_is_in_two_splits(self) -> None:
        """No text is in two splits: what is held out has not been trained on."""
        owners: dict[str, tuple[str, str]] = {}
        for split in SPLITS:
            for document in self._seen[split]:
                other, first = owners.setdefault(document.text, (split, document.name))
                ensure(other == split, f"{document.name!r} of {split} has the text of {first!r} of {other}")

    def test_documents_come_one_by_one(self) -> None:
        """A split is an iterator: no more than one document need be in memory."""
        for split in SPLITS:
            documents = self.make().documents(split)
            ensure(hasattr(documents, "__next__"), f"the {split} split is a {type(documents).__name__}, no iterator")

    def test_a_second_reading_is_the_same(self) -> None:
        """A split has the same documents in the same order at every reading, of this corpus and of one made anew."""
        corpus = self.make()
        for split in SPLITS:
            for again in (corpus, corpus, self.make()):
                self._ensure_same(split, self._read(again, split))

    def test_readings_do_not_disturb_each_other(self) -> None:
        """Readings that go on side by side, and one that is given up, change no other."""
        corpus = self.make()
        given_up = corpus.documents("train")
        next(given_up, None)
        sides = [map(Seen.of, self._first(corpus, split)) for split in SPLITS]
        rounds = list(zip_longest(*sides))
        for place, split in enumerate(SPLITS):
            self._ensure_same(split, [one[place] for one in rounds if one[place] is not None])

    def test_another_process_reads_the_same(self) -> None:
        """Another process, whose hashes of strings differ, reads the same documents in the same order."""
        if not isinstance(self.corpus, str):
            raise SkipTest("only a registered corpus can be found by another process")
        target = registry().corpus_spec(self.corpus).target
        ours = digest(document for split in SPLITS for document in self._seen[split])
        theirs = elsewhere(target, self._given, self.longest_reading)
        ensure(theirs == ours, "another process read other documents, or in another order")

    def test_an_unknown_split_is_refused(self) -> None:
        """A split that is none of the three raises CorpusError."""
        for name in ("trian", "", "Test"):
            # What no type checker lets through is what is asked here.
            asked = cast(Split, name)
            ensure_raises(CorpusError, f"split {name!r}", lambda asked=asked: list(self._first(self.make(), asked)))

    def test_an_unknown_option_is_refused(self) -> None:
        """An option that the corpus does not have raises OptionsError."""
        if not isinstance(self.corpus, str):
            raise SkipTest("only a registered corpus is given options by name")
        name, given = self.corpus, {**self._given, UNKNOWN: 1}
        ensure_raises(OptionsError, f"option {UNKNOWN!r}", lambda: registry().corpus_options(name, given))

    def test_a_notice_is_one_line(self) -> None:
        """What the corpus has to say to whoever reads it is one line, or nothing."""
        notice = self.make().notice()
        ensure(notice is None or len(notice.splitlines()) == 1, f"the notice should be one line, got {notice!r}")

    def test_listing_imports_nothing(self) -> None:
        """Listing corpora imports neither the corpus nor a library that it needs."""
        if not isinstance(self.corpus, str):
            raise SkipTest("only a registered corpus is listed")
        spec = registry().corpus_spec(self.corpus)
        late = [spec.target.partition(":")[0], *spec.requires]
        found = imported_by_listing(late)
        ensure(not found, f"listing corpora imports {found}")

    @property
    def _given(self) -> dict[str, Any]:
        if not isinstance(self.corpus, str):
            return {}
        return dict(registry().corpus_spec(self.corpus).test_options if self.options is None else self.options)

    @cached_property
    def _seen(self) -> dict[Split, list[Seen]]:
        corpus = self.make()
        return {split: self._read(corpus, split) for split in SPLITS}

    def _first(self, corpus: Corpus, split: Split) -> Iterator[Document]:
        return islice(corpus.documents(split), self.longest_reading)

    def _read(self, corpus: Corpus, split: Split) -> list[Seen]:
        return [Seen.of(document) for document in self._first(corpus, split)]

    def _ensure_same(self, split: Split, again: Sequence[Seen]) -> None:
        for place, (first, later) in enumerate(zip_longest(self._seen[split], again)):
            was, now = (document.name if document else "none" for document in (first, later))
            ensure(was == now, f"{split}: document {place} was {was!r} at the first reading, {now!r} at a later one")
            ensure(first == later, f"{split}: the text of {was!r} differs from that of the first reading")
