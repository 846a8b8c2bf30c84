"""The contract of a corpus: long documents, one after the other, in three splits that share none."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from memstack.contract.errors import CorpusError, did_you_mean

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Document:
    """One text, read from its start to its end; never blank."""

    name: str
    """What no other document of the corpus is called, in whichever split."""
    text: str


class Corpus(ABC):
    """Documents in a train, a validation and a test split.

    A subclass names what can be chosen in a nested ``Options``, a subclass of ``CorpusOptions``, and is built with one.
    What cannot be read is best said then: a corpus is built before anything is written.
    """

    @abstractmethod
    def documents(self, split: Split) -> Iterator[Document]:
        """Yield the documents of a split one by one, in an order that is the same at every reading and everywhere.

        A document is read when it is asked for: a split may be larger than memory. Several readings may go on at a
        time. No name and no text is in two splits.

        Raises:
            CorpusError: if the split has another name, no documents, or some that cannot be read; here or while they
                are read.
        """

    def identity(self) -> str | None:
        """Return what tells these documents from all others without reading them, or None if only reading can.

        Such as a data set's name, its commit and every option: as long as it is the same, so is every document. What
        was made of documents with an identity is found again without reading them.
        """
        return None

    def notice(self) -> str | None:
        """Return one line that whoever reads the corpus should see, such as how it was split, or None."""
        return None


def check_split(split: str) -> Split:
    """Return the split; CorpusError if there is none of that name."""
    for known in SPLITS:
        if split == known:
            return known
    raise CorpusError(f"there is no split {split!r}{did_you_mean(split, SPLITS)} (known: {', '.join(SPLITS)})")
