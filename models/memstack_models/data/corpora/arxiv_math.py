"""LaTeX sources of mathematics on arXiv, up to March 2022."""

from collections.abc import Iterator

from memstack import Document, Split
from memstack_models.data.corpora.proof_pile import TEST, TRAIN, VALIDATION, parsed, proof_pile
from memstack_models.data.corpora.published import PublishedCorpus


class ArxivMathCorpus(PublishedCorpus):
    """A LaTeX file is a document, which is a paper for most of them; the splits are those of the data set."""

    name = "arxiv-math"
    source = proof_pile({"train": (TRAIN,), "validation": (VALIDATION,), "test": (TEST,)})
    sample = "examples/data/arxiv_math of the repository"

    def rows(self, split: Split) -> Iterator[Document]:
        """Yield the files of arXiv, named as in the data set: identifier, version and path."""
        for part, name, text in parsed(self.stream(split)):
            if part == "arxiv":
                yield Document(name, text)
