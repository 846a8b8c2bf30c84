"""What a measurement was made on, in words, and what else the machine was doing meanwhile."""

import os
import platform
from pathlib import Path

import torch

from memstack.plugins.config import Frozen
from memstack.plugins.registry import registry

IDLE = 0.3
"""Runnable threads per core, up to which nothing else counts as running."""


class Load(Frozen):
    """How many threads of the whole machine wanted to run, as its system tells."""

    average: float
    """Over the minute before, the measurement's own included."""
    cores: int
    """That this process may use."""

    def others(self, own: float = 0.0) -> bool:
        """True if more was running than ``own`` threads of this process and what a machine at rest does."""
        return self.average > own + IDLE * self.cores

    def __str__(self) -> str:
        return f"{self.average:.1f} on {self.cores} cores"


def machine_load() -> Load | None:
    """Return the load of the last minute; None where the system does not tell."""
    try:
        return Load(average=os.getloadavg()[0], cores=_cores())
    except (AttributeError, OSError):
        return None


def describe_hardware() -> dict[str, str]:
    """Return processor, cores, memory, accelerator, system and the versions of what computes, each as a text."""
    libraries = sorted({each for spec in registry().specs() for each in spec.installed()})
    return {
        "processor": _processor(),
        "cores": f"{_cores()}, of which torch uses {torch.get_num_threads()}",
        "memory": _memory(),
        "accelerator": _accelerator(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": ", ".join([f"torch {torch.__version__}", *libraries]),
    }


def device_name(device: torch.device) -> str:
    """Return what a device is called by who made it: a processor, a card; its type if nobody says."""
    if device.type == "cpu":
        return _processor()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _cores() -> int:
    # What this process may use can be less than what there is; not every system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    except (AttributeError, ValueError, OSError):
        return "unknown"


def _accelerator() -> str:
    if not torch.accelerator.is_available():
        return "none"
    found = torch.accelerator.current_accelerator()
    return "none" if found is None else device_name(found)
