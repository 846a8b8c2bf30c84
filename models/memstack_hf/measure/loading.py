"""A model and a tokeniser by name, and documents as tokens."""

from collections.abc import Iterable, Iterator, Sequence
from glob import escape
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memstack import SPLITS, Document, Split, create_corpus
from memstack.contract.errors import CorpusError, MemstackError, in_one_line
from memstack_hf.measure.smollm2 import NAME, load_smollm2

PER_TOKEN = 12
"""Characters of a document that are tokenised for each token wanted: more than any text has."""

WHOLE = {"train": 0.0, "validation": 0.0, "test": 1.0}
"""Shares of a folder that is not divided: all of it."""


def load(model: str, dtype: str) -> tuple[Any, Any]:
    """Return model and tokeniser of a folder, of a name on the Hugging Face Hub, or of ``smollm2``.

    ``auto`` is bfloat16, or float32 where the processor has no products in that.

    Raises:
        MemstackError: there is none; in one line, with what to do.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    getLogger("huggingface_hub").setLevel(ERROR)  # what fails is told once, below
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    wide = dtype_named(dtype)
    if model == NAME and not Path(model).exists():
        return load_smollm2(wide)
    try:
        return AutoModelForCausalLM.from_pretrained(model, dtype=wide).eval(), AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError) as error:
        raise MemstackError(
            f"{model!r} could not be loaded; name a folder with a causal language model, one on the Hugging Face "
            f"Hub, or {NAME}: {in_one_line(error)}"
        ) from None


def dtype_named(dtype: str) -> torch.dtype:
    """Return a dtype by its name; of ``auto`` the one that torch, as far as is known, has a kernel for here."""
    if dtype != "auto":
        return getattr(torch, dtype)
    slow = torch.backends.mkldnn.is_available() and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.float32 if slow else torch.bfloat16


def document_in(path: Path) -> str:
    """Return the text of one file, plain or .gz; CorpusError if it is none."""
    if not path.is_file():
        raise CorpusError(f"{path} is no file: name a document, a text in UTF-8, plain or .gz")
    found = create_corpus(
        "folder", path=path.parent, pattern=[escape(path.name.removesuffix(".gz"))], shares=WHOLE
    ).documents("test")
    return next(iter(found)).text


def documents(
    folder: Path, tokenizer: Any, tokens: int, most: int, *, divided: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and first tokens, (1, n), of so many documents of a folder that are as long.

    A folder without ``train/``, ``validation/`` and ``test/`` is read as a whole or, ``divided``, its test split alone.

    Raises:
        CorpusError: the folder has none.
    """
    found = 0
    shares = {} if divided else {"shares": WHOLE}
    for document in create_corpus("folder", path=folder, **shares).documents("test"):
        ids = torch.tensor(
            tokenizer(document.text[: PER_TOKEN * tokens]).input_ids[:tokens], dtype=torch.int64, device="cpu"
        )
        if len(ids) == tokens:
            yield document.name, ids[None]
            found += 1
        if found == most:
            return
    if not found:
        raise CorpusError(
            f"{folder} has no document of {tokens:,} tokens: choose fewer with --tokens, or another folder"
        )


def tokenised(corpora: Sequence[str], split: Split, tokenizer: Any, tokens: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names and tokens, (n,), of all documents of files, of folders and of corpora by name; 0 tokens are all.

    A folder without splits is read as a whole.

    Raises:
        CorpusError: one of them cannot be read, or is none.
    """
    for name in corpora:
        for document in _texts(name, split):
            text = document.text[: PER_TOKEN * tokens] if tokens else document.text
            ids = tokenizer(text).input_ids[: tokens or None]
            yield document.name, torch.tensor(ids, dtype=torch.int64, device="cpu")


def _texts(name: str, split: Split) -> Iterable[Document]:
    path = Path(name)
    if path.is_file():
        return [Document(path.name, document_in(path))]
    if path.is_dir():
        shares = {each: float(each == split) for each in SPLITS}
        return create_corpus("folder", path=path, shares=shares).documents(split)
    return create_corpus(name).documents(split)
