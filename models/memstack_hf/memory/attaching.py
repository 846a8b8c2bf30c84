"""attach() and from_pretrained(): a memory for a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from memstack.contract.errors import MemstackError, OptionsError, StateError, in_one_line
from memstack.plugins.registry import registry
from memstack.wrappers.common import open_store
from memstack_hf.config import LongMemoryConfig, settings
from memstack_hf.memory import saving
from memstack_hf.memory.long_memory import LongMemory
from memstack_hf.model.plan import plan_for


def attach(model: Any, layers: Sequence[int] | None = None, **config: Any) -> LongMemory:
    """Give a causal language model of transformers a long-term memory; its code, weights and forward stay as they are.

    ``layers`` and all other settings are those of ``LongMemoryConfig``. With an empty memory the model computes what it
    did before. A model that peft has wrapped may be given, before or after.

    Raises:
        AttachError: the model cannot have a memory that is right, and why.
        OptionsError: a setting is unknown or does not suit the model, the backend or the store.
        StateError: the store is not there, not finished, or another model's.
        UnknownBackendError, BackendUnavailableError: as ``create_memory`` does.
    """
    given = settings({"layers": None if layers is None else tuple(layers)} | config)
    return _attached(_own(model), given)


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
    memory = _attached(own, given)
    try:
        memory.load_state_dict(learned)
        if contents is not None:
            memory.restore(contents)
    except (RuntimeError, MemstackError) as error:
        memory.detach()
        raise StateError(f"{place} does not fit this model: {in_one_line(error)}") from None
    return memory


def _attached(model: Any, given: LongMemoryConfig) -> LongMemory:
    """Open the store that the settings name, if they do, and have the model ask its memory."""
    if given.store is None:
        return LongMemory(model, given, plan_for(model, given))
    plan_for(model, given)  # whatever is wrong with a setting is to be known before a store is read
    options = registry().place_options(given.backend, given.options, torch.device(model.device))
    store = open_store(given.store, saving.digest_of(model), given.backend, options)
    far = given.far_layers or tuple(store.memories)
    if missing := {*far} - store.memories.keys():
        raise OptionsError(f"far_layers: the store {given.store.place} has nothing of layers {sorted(missing)}")
    given = given.model_copy(update={"position": "fixed", "far_layers": far})
    return LongMemory(model, given, plan_for(model, given), store)


def _own(model: Any) -> Any:
    """The model of transformers itself: adapters of peft are laid around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
