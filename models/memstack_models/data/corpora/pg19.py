"""PG-19: books of Project Gutenberg published before 1919 (Rae et al., arXiv 1911.05507), as the paper reads them."""

from collections.abc import Iterator

from memstack import Document, Split
from memstack_models.data.corpora.hub import Source
from memstack_models.data.corpora.published import PublishedCorpus


class PG19Corpus(PublishedCorpus):
    """A book is a document; the splits are those of the data set: 28,602, 50 and 100 books."""

    name = "pg19"
    # deepmind/pg19 is a loading script, which datasets no longer runs; this is the same in Parquet.
    source = Source(
        dataset="emozilla/pg19",
        revision="c021754c8e01c5b1cc83a1f549c1f97fbbb756b8",
        builder="parquet",
        files={
            "train": ("data/train-*.parquet",),
            "validation": ("data/validation-*.parquet",),
            "test": ("data/test-*.parquet",),
        },
        columns=("short_book_title", "url", "text"),
        # A row group is hundreds of books; a few of them at a time are made Python texts.
        reading={"batch_size": 8},
    )
    sample = "examples/data/books of the repository"

    def rows(self, split: Split) -> Iterator[Document]:
        """Yield the books: named by their numbers at Project Gutenberg, and their titles."""
        for row in self.stream(split):
            number = row["url"].rstrip("/").rpartition("/")[2]
            yield Document(f"{number} {row['short_book_title']}", row["text"])
