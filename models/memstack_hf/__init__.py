"""A long-term memory for causal language models of Hugging Face transformers. Importing this does not import those."""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import memstack

if TYPE_CHECKING:
    from memstack_hf.config import LongMemoryConfig
    from memstack_hf.measure.smollm2 import load_smollm2
    from memstack_hf.memory.attaching import attach, from_pretrained
    from memstack_hf.memory.long_memory import LongMemory
    from memstack_hf.memory.snapshot import Snapshot
    from memstack_hf.model.probe import AttachError

_LATER = {
    "LongMemoryConfig": "config",
    "load_smollm2": "measure.smollm2",
    "attach": "memory.attaching",
    "from_pretrained": "memory.attaching",
    "LongMemory": "memory.long_memory",
    "Snapshot": "memory.snapshot",
    "AttachError": "model.probe",
}
__all__ = ["AttachError", "LongMemory", "LongMemoryConfig", "Snapshot", "attach", "from_pretrained", "load_smollm2"]

COMMANDS = (
    memstack.CommandSpec(
        name="hf-eval",
        target="memstack_hf.measure.command:hf_eval_command",
        summary="Read documents with a Hugging Face model: its window alone, with a memory, with full attention.",
        examples=(
            "memstack hf-eval smollm2 --data my-texts",
            "memstack hf-eval ./my-model --data my-texts --tokens 16384 --capacity 2048 --capacity 16384",
            "memstack hf-eval smollm2 --data my-texts --passkey 4096 --trials 20",
        ),
    ),
    memstack.CommandSpec(
        name="hf-build-store",
        target="memstack_hf.measure.store_command:hf_build_store_command",
        summary="Fill a store with what a Hugging Face model remembers of a corpus, to be read beside any text.",
        examples=(
            "memstack hf-build-store smollm2 my-texts --out stores/mine",
            "memstack hf-build-store smollm2 book.txt my-texts --url http://localhost:6334/mine",
        ),
    ),
    memstack.CommandSpec(
        name="hf-ask",
        target="memstack_hf.measure.ask_command:hf_ask_command",
        summary="Read a document of any length with a Hugging Face model, and go on from a question about it.",
        examples=(
            'memstack hf-ask smollm2 book.txt "The name of the harbour master is"',
            'memstack hf-ask ./my-model book.txt "Who wrote the letter? The letter was written by" --backend hnsw',
        ),
    ),
)


@memstack.hookimpl
def memstack_commands() -> Sequence[memstack.CommandSpec]:
    """Offer ``hf-eval``, ``hf-build-store`` and ``hf-ask``."""
    return COMMANDS


def __getattr__(name: str) -> Any:
    if name in _LATER:
        module = importlib.import_module(f"memstack_hf.{_LATER[name]}")
        value = globals()[name] = getattr(module, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
