"""Corpora with one bug each, and the promise at which the kit must catch it."""

import random
from collections.abc import Callable, Iterator
from itertools import count

from memstack import SPLITS, Corpus, CorpusOptions, Document, Split, check_split

BROKEN: dict[str, tuple[type["Letters"], set[str]]] = {}


def breaks(*promises: str) -> Callable[[type["Letters"]], type["Letters"]]:
    """Register a corpus under the promises that it breaks."""

    def register(broken: type["Letters"]) -> type["Letters"]:
        BROKEN[broken.__name__] = (broken, set(promises))
        return broken

    return register


class Letters(Corpus):
    """A sound corpus: thirty documents a split."""

    class Options(CorpusOptions):
        """There is nothing to choose."""

    def __init__(self, options: CorpusOptions | None = None) -> None:
        """Nothing is kept."""

    def documents(self, split: Split) -> Iterator[Document]:
        check_split(split)
        return iter(self.made(split))

    def made(self, split: Split) -> list[Document]:
        return [Document(f"{split}/{n}", f"letter {n} of {split}\n") for n in range(30)]


@breaks("test_every_split_has_documents")
class NothingHeldOut(Letters):
    def made(self, split: Split) -> list[Document]:
        return super().made(split) if split == "train" else []


@breaks("test_documents_have_names_and_texts")
class BlankText(Letters):
    def made(self, split: Split) -> list[Document]:
        return [*super().made(split), Document(f"{split}/blank", f"{' ' * SPLITS.index(split)}\n")]


@breaks("test_documents_have_names_and_texts")
class LoneSurrogate(Letters):
    def made(self, split: Split) -> list[Document]:
        return [*super().made(split), Document(f"{split}/latin", f"{split} caf\udce9")]


@breaks("test_documents_have_names_and_texts")
class NamelessDocument(Letters):
    def made(self, split: Split) -> list[Document]:
        return [Document(document.name.removeprefix("train/0"), document.text) for document in super().made(split)]


@breaks("test_no_name_comes_twice")
class NumberedInEachSplit(Letters):
    def made(self, split: Split) -> list[Document]:
        return [Document(str(n), document.text) for n, document in enumerate(super().made(split))]


@breaks("test_no_name_comes_twice")
class OneNameTwiceInASplit(Letters):
    def made(self, split: Split) -> list[Document]:
        return [*super().made(split), Document(f"{split}/0", f"another text of {split}")]


@breaks("test_no_text_is_in_two_splits")
class TestsOnWhatItTrains(Letters):
    def made(self, split: Split) -> list[Document]:
        seen = [Document("test/seen", "letter 7 of train\n")] if split == "test" else []
        return [*super().made(split), *seen]


@breaks("test_documents_come_one_by_one")
class AllInMemory(Letters):
    def documents(self, split: Split) -> Iterator[Document]:
        check_split(split)
        return self.made(split)  # type: ignore[return-value]


@breaks(
    "test_a_second_reading_is_the_same",
    "test_readings_do_not_disturb_each_other",
    "test_another_process_reads_the_same",
)
class ShuffledAnew(Letters):
    def made(self, split: Split) -> list[Document]:
        return random.sample(super().made(split), 30)


@breaks("test_another_process_reads_the_same")
class OrderOfASet(Letters):
    def made(self, split: Split) -> list[Document]:
        return list({document.text: document for document in set(super().made(split))}.values())


@breaks("test_a_second_reading_is_the_same", "test_readings_do_not_disturb_each_other")
class ReadOnce(Letters):
    """Keeps its place between readings, as a file that is not opened again does."""

    def __init__(self, options: CorpusOptions | None = None) -> None:
        self.left = {split: iter(self.made(split)) for split in SPLITS}

    def documents(self, split: Split) -> Iterator[Document]:
        return self.left[check_split(split)]


@breaks("test_readings_do_not_disturb_each_other")
class OneReadingAtATime(Letters):
    """A new reading ends the others, as one connection for all of them does."""

    def __init__(self, options: CorpusOptions | None = None) -> None:
        self.turn, self.reading = count(), -1

    def documents(self, split: Split) -> Iterator[Document]:
        check_split(split)
        mine = self.reading = next(self.turn)
        return (document for document in self.made(split) if mine == self.reading)


@breaks("test_a_second_reading_is_the_same")
class RenamedTheSecondTime(Letters):
    """Numbers its documents over all readings of an object."""

    def __init__(self, options: CorpusOptions | None = None) -> None:
        self.read = 0

    def made(self, split: Split) -> list[Document]:
        self.read += 1
        return super().made(split) if self.read <= 3 else [Document(f"{split}/x", f"{split}")]


@breaks("test_an_unknown_split_is_refused")
class AnyOtherSplitIsTest(Letters):
    def documents(self, split: Split) -> Iterator[Document]:
        return iter(self.made(split if split in SPLITS else "test"))


@breaks("test_an_unknown_option_is_refused")
class TakesAnyOption(Letters):
    class Options(Letters.Options, extra="allow"):
        """Whatever comes."""


@breaks("test_a_notice_is_one_line")
class TalksAtLength(Letters):
    def notice(self) -> str:
        return "two\nlines"
