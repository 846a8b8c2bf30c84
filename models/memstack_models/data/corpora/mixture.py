"""MixtureCorpus: the documents of several corpora as one, such as code, proofs and mathematics."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from memstack import Corpus, CorpusOptions, Document, Split, check_split
from memstack.plugins.config import Frozen
from memstack_models.data.config import DataConfig
from memstack_models.data.documents import corpus_of


class Part(Frozen):
    """One of the corpora."""

    corpus: Annotated[str, Field(min_length=1)]
    """Name of a registered corpus, or a folder of texts."""
    name: str = ""
    """What the names of its documents begin with; the corpus's own name by default, of a folder its last part."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Exactly the fields of that corpus's Options."""

    @property
    def prefix(self) -> str:
        """What the names of its documents begin with."""
        return self.name or Path(self.corpus).name or self.corpus


class MixtureCorpus(Corpus):
    """Every split has that of each part, one part after the other; names begin with the part's."""

    class Options(CorpusOptions):
        parts: Annotated[tuple[Part, ...], Field(min_length=2)]
        """The corpora, in order."""

        @model_validator(mode="after")
        def _check(self) -> "MixtureCorpus.Options":
            twice = [prefix for prefix, count in Counter(part.prefix for part in self.parts).items() if count > 1]
            if twice:
                raise ValueError(f"two parts are called {twice[0]}: give each a name of its own, parts.name")
            return self

    def __init__(self, options: Options) -> None:
        """Build every part; whatever one of them raises says what is wrong with it."""
        given = {part.prefix: DataConfig(corpus=part.corpus, options=part.options) for part in options.parts}
        self._parts = {prefix: corpus_of(data) for prefix, data in given.items()}

    def documents(self, split: Split) -> Iterator[Document]:
        """Yield the documents of a split, part by part."""
        check_split(split)
        for prefix, part in self._parts.items():
            for document in part.documents(split):
                yield Document(f"{prefix}/{document.name}", document.text)

    def identity(self) -> str | None:
        """Return what is known of all parts; None if one is only known by reading it."""
        known = {prefix: part.identity() for prefix, part in self._parts.items()}
        return None if None in known.values() else f"mixture of {known}"

    def notice(self) -> str | None:
        """Return what the parts have to say."""
        said = {prefix: part.notice() for prefix, part in self._parts.items()}
        return "; ".join(f"{prefix}: {line}" for prefix, line in said.items() if line) or None
