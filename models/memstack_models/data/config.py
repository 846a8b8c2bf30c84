"""DataConfig: the ``[data]`` section."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from memstack.plugins.bounds import Size
from memstack.plugins.config import Frozen
from memstack.plugins.placement import PLACEMENT


def _separate(given: Any) -> Any:
    """Patterns may be written as one text with commas between them."""
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


Patterns = Annotated[tuple[str, ...], BeforeValidator(_separate)]
"""File name patterns such as ``*.tex``: a list, or one text with commas between them."""


class DataConfig(Frozen):
    """The ``[data]`` section."""

    corpus: Annotated[str, Field(min_length=1), PLACEMENT] = "python-stdlib"
    """Name of a registered corpus, which ``memstack corpora`` lists; or a folder of UTF-8 text files, plain or .gz."""
    pattern: Patterns = ()
    """Which files of a folder are documents, such as ``*.tex``; short for the corpus's option of that name."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Exactly the fields of that corpus's Options."""
    tokenizer: Literal["bytes", "bpe"] = "bpe"
    vocab_size: Size = 1024
    """Size of a byte-pair vocabulary; bytes always have 257."""
