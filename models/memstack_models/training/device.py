"""pick_device: where a run computes."""

import torch

from memstack import ConfigError
from memstack.contract.validation import usable_device


def pick_device(name: str) -> torch.device:
    """The named device; ``auto`` is an accelerator if there is one, else the CPU. ConfigError if it cannot be used."""
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found if found is not None else torch.device("cpu")
    try:
        return usable_device(name)
    except ValueError as error:
        raise ConfigError(f"train.{error}; auto takes what there is") from None
