"""DataConfig: the ``[data]`` section."""

from typing import Literal

from pydantic import PositiveInt

from memstack.plugins.config import Frozen


class DataConfig(Frozen):
    """The ``[data]`` section."""

    corpus: str = "python-stdlib"
    """``python-stdlib``, or a folder with train/, validation/ and test/ of UTF-8 text files, plain or .gz."""
    tokenizer: Literal["bytes", "bpe"] = "bpe"
    vocab_size: PositiveInt = 1024
    """Size of a byte-pair vocabulary; bytes always have 257."""
