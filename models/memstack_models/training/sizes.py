"""What a run takes at the very least, in bytes: one that this machine cannot hold is refused before it begins."""

import os
from pathlib import Path

import torch

from memstack import ConfigError
from memstack.plugins.config import MemoryConfig
from memstack.plugins.registry import registry
from memstack.store.storage import StoreOptions
from memstack_models.training.config import RunConfig

GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def refuse_too_large(
    run: RunConfig, vocab_size: int, device: torch.device, memory: MemoryConfig | None, *, training: bool = True
) -> None:
    """ConfigError, with the bytes, if the run cannot fit into this machine; of what may be less, the least is taken."""
    if device.type not in ("cpu", "cuda"):
        return  # nobody says how much there is
    copies = {"adamw": 4, "adafactor": 2}[run.train.optimizer] if training else 1  # gradient and moments among them
    needed = {
        "its weights" + (" and its optimiser" if training else ""): copies * _weights(run, vocab_size),
        "one step's activations": _activations(run, vocab_size) if training else 0,
        "its memories": _memories(run, memory) if training else 0,
    }
    total, there = sum(needed.values()), available(device)
    if total <= there:
        return
    largest = max(needed, key=lambda part: needed[part])
    raise ConfigError(
        f"this run needs {total / 1e9:,.1f} GB at least, of which {largest} {needed[largest] / 1e9:,.1f}; there are "
        f"{there / 1e9:,.1f} (more than there is): {_mend(largest)}"
    )


def available(device: torch.device) -> int:
    """Bytes of memory: of this machine, or as many as its processes may have; and of the device, if it has its own."""
    own = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return own + min([machine, *(limit for path in GROUP_LIMITS if (limit := _limit(Path(path))) is not None)])


def _weights(run: RunConfig, vocab_size: int) -> int:
    model = run.model
    attention = 2 * model.dim * model.head_dim * (model.heads + model.kv_heads)
    return 4 * (vocab_size * model.dim + model.layers * (attention + 2 * model.dim * model.ffn_dim))


def _activations(run: RunConfig, vocab_size: int) -> int:
    """What a part of a step keeps for backward, logits, and the local scores' positions, which all rows share."""
    model, train = run.model, run.train
    tokens = train.rows // train.accumulation * train.segment
    layers = 1 if train.checkpoint_activations == "all" else model.layers
    kept = tokens * (layers * (2 * model.dim + model.ffn_dim) + vocab_size) * (4 if train.precision == "float32" else 2)
    found = tokens * model.heads * run.memory.neighbours * 12 * bool(model.memory_layers)
    return kept + found + train.segment * (train.segment + model.cache) * (8 + 4 * model.heads)


def _memories(run: RunConfig, memory: MemoryConfig | None) -> int:
    """Caches, and what memories store in this machine's memory; of a backend with its own storage nothing is known."""
    model, rows = run.model, run.train.rows
    cached = model.layers * rows * model.kv_heads * model.cache * 2 * model.head_dim * 4
    if memory is None or not model.memory_layers:
        return cached
    options = registry().options(memory.backend, memory.options)
    if not isinstance(options, StoreOptions) or options.folder is not None:
        return cached
    entries = len(model.memory_layers) * rows * model.kv_heads * memory.capacity
    return cached + entries * 2 * model.head_dim * BYTES[options.dtype]


def _mend(part: str) -> str:
    if part == "its memories":
        return "lower capacity, model.cache or train.rows, or keep it in a folder (memory.options.folder)"
    if part == "one step's activations":
        return "lower train.segment or train.rows, or raise train.accumulation"
    return "lower model.dim, model.ffn_dim, model.layers or data.vocab_size"


def _limit(path: Path) -> int | None:
    """The limit of a control group; None where there is no such file, or no limit in it."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
