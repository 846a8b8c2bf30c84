"""A memory's folder: its settings, what it has learned and, if asked for, its contents."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from memstack.contract.errors import StateError
from memstack.plugins.config import plain
from memstack_hf.config import LongMemoryConfig, settings
from memstack_hf.memory.snapshot import Snapshot, from_tensors, to_tensors

SETTINGS, LEARNED, CONTENTS = "memory_config.json", "memory.safetensors", "contents.safetensors"
FORMAT = 1


def digest_of(model: torch.nn.Module) -> str:
    """What tells a model from others: a hash over names, shapes and a sample of every weight."""
    total = sha256()
    for name, tensor in _weights(model):
        sample = tensor.detach().flatten()[:: max(1, tensor.numel() // 256)][:256]
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(sample.to("cpu").contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The base model's own weights: adapters that lie beside them come and go."""
    for name, tensor in sorted(model.state_dict().items()):
        if "lora_" not in name and isinstance(tensor, torch.Tensor):
            yield name.replace(".base_layer", ""), tensor


def write_settings(folder: Path, config: LongMemoryConfig, far_layers: tuple[int, ...]) -> None:
    """Write the settings, those that were found out included."""
    kept = plain(config) | {"far_layers": list(far_layers)}
    tree = {"format": FORMAT, "memory": kept}
    (folder / SETTINGS).write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> LongMemoryConfig:
    """Read the settings; StateError if the folder has none."""
    path = folder / SETTINGS
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"{path} should hold a memory's settings, as save_pretrained writes them: {error}") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT or not isinstance(tree.get("memory"), dict):
        raise StateError(f"{path} should be of format {FORMAT}: load it with the memstack that wrote it")
    return settings(tree["memory"])


def write_learned(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write what is learned: scale, bias and age term."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, folder / LEARNED)


def read_learned(folder: Path) -> dict[str, torch.Tensor]:
    """Read what was learned."""
    return _read(folder / LEARNED)[0]


def write_contents(folder: Path, snapshot: Snapshot, digest: str) -> None:
    """Write what is remembered and in sight, with the digest of the model whose keys they are."""
    save_file(to_tensors(snapshot), folder / CONTENTS, metadata={"model": digest, "format": str(FORMAT)})


def read_contents(folder: Path, digest: str) -> Snapshot | None:
    """Read contents, if there are any; StateError if they are another model's."""
    if not (folder / CONTENTS).is_file():
        return None
    named, metadata = _read(folder / CONTENTS)
    if metadata.get("model") != digest:
        raise StateError(
            f"{folder / CONTENTS} holds what another model remembered, whose keys mean nothing to this one: load it "
            "with the weights that read it, or delete the file to start with an empty memory"
        )
    return from_tensors(named)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise StateError(f"{path} cannot be read as safetensors: {error}") from None
