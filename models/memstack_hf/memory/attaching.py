"""attach() and from_pretrained(): a memory for a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memstack.contract.errors import MemstackError, StateError, in_one_line
from memstack_hf.config import settings
from memstack_hf.memory import saving
from memstack_hf.memory.long_memory import LongMemory
from memstack_hf.model.plan import plan_for


def attach(model: Any, layers: Sequence[int] | None = None, **config: Any) -> LongMemory:
    """Give a causal language model of transformers a long-term memory; its code, weights and forward stay as they are.

    ``layers`` and all other settings are those of ``LongMemoryConfig``. With an empty memory the model computes what it
    did before. A model that peft has wrapped may be given, before or after.

    Raises:
        AttachError: the model cannot have a memory that is right, and why.
        OptionsError: a setting is unknown or does not suit the model or the backend.
        UnknownBackendError, BackendUnavailableError: as ``create_memory`` does.
    """
    own = _own(model)
    given = settings({"layers": None if layers is None else tuple(layers)} | config)
    return LongMemory(own, given, plan_for(own, given))


def from_pretrained(model: Any, folder: str | Path) -> LongMemory:
    """Attach a memory as ``LongMemory.save_pretrained`` wrote it, with what it had learned and, if there, its contents.

    Raises:
        StateError: the folder holds no memory, or contents that another model remembered.
        AttachError, OptionsError: as ``attach`` does.
    """
    own, place = _own(model), Path(folder)
    given = saving.read_settings(place)
    learned = saving.read_learned(place)
    contents = saving.read_contents(place, saving.digest_of(own))
    memory = LongMemory(own, given, plan_for(own, given))
    try:
        memory.load_state_dict(learned)
        if contents is not None:
            memory.restore(contents)
    except (RuntimeError, MemstackError) as error:
        memory.detach()
        raise StateError(f"{place} does not fit this model: {in_one_line(error)}") from None
    return memory


def _own(model: Any) -> Any:
    """The model of transformers itself: adapters of peft are laid around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
