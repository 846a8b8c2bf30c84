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
        device = usable_device(name)
        torch.ones(
            1, device=device, dtype=torch.float32
        ).sum().item()  # some hold no numbers, as meta does, or do not count
    except Exception as error:  # noqa: BLE001 - every kind of device fails in a way of its own
        reason = str(error).partition("\n")[0]
        told = reason if "cannot be used here" in reason else f"device {name!r} cannot be used here: {reason}"
        raise ConfigError(f"train.{told}; auto takes what there is") from None
    return device
