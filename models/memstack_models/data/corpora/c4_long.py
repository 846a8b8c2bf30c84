"""C4 (Raffel et al., arXiv 1910.10683), only its long documents, which the paper calls C4(4K+)."""

from collections.abc import Iterator

from tokenizers import Regex, pre_tokenizers

from memstack import Document, Split
from memstack.plugins.bounds import Length
from memstack_models.data.chunking import pieces
from memstack_models.data.corpora.hashed import fraction
from memstack_models.data.corpora.hub import Source
from memstack_models.data.corpora.published import PublishedCorpus, PublishedOptions
from memstack_models.data.tokenizer import PATTERN

TRAIN, HELD_OUT = "en/c4-train.*.json.gz", "en/c4-validation.*.json.gz"
_PIECES = pre_tokenizers.Split(Regex(PATTERN), "isolated")


class LongOptions(PublishedOptions):
    """Where the documents come from, and how long they have to be."""

    shortest: Length = 4096
    """Tokens of a document at least, counted as words, numbers, marks and gaps, which no token of a BPE crosses."""


class C4LongCorpus(PublishedCorpus):
    """A web page is a document; half of C4's validation split, by a hash of addresses, is the test split it lacks."""

    name = "c4-long"
    source = Source(
        dataset="allenai/c4",
        revision="1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
        builder="json",
        files={"train": (TRAIN,), "validation": (HELD_OUT,), "test": (HELD_OUT,)},
        columns=("url", "text"),
    )
    sample = "examples/data/web of the repository"
    Options = LongOptions

    def __init__(self, options: LongOptions) -> None:
        super().__init__(options)
        self._shortest = options.shortest

    def rows(self, split: Split) -> Iterator[Document]:
        """Yield the pages, named by the split of C4 and their addresses."""
        place = "train" if split == "train" else "validation"
        for row in self.stream(split):
            if split == "train" or (fraction(row["url"]) < 0.5) == (split == "validation"):
                yield Document(f"{place} {row['url']}", row["text"])

    @property
    def criterion(self) -> str:
        """What ``wanted`` asks for, in words."""
        return f"of {self._shortest:,} tokens (data.options.shortest) or more"

    def wanted(self, document: Document) -> bool:
        """Return True for a document that has tokens enough in any vocabulary."""
        return has_tokens(document.text, self._shortest)


def has_tokens(text: str, count: int) -> bool:
    """Return True if a text has so many words, numbers, marks and gaps: no vocabulary makes fewer tokens of them."""
    # One has a character or more, so that most pages need not be cut up.
    left = count if len(text) >= count else 0
    for piece in pieces(text) if left else ():
        left -= len(_PIECES.pre_tokenize_str(piece))
        if left <= 0:
            return True
    return False
