"""One side of ``peer.py``: fills the memories of one library's model, then makes a training step per line it reads.

It runs in the Python of either library, so it imports no more at its top than both have. Optimiser, tokens and timing
are the same lines for both; a ``Side`` is only what differs. Lines in: ``step``, ``recall``, ``tune``; lines out: JSON.
"""

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

KEYS, QUERIES = "keys.npy", "queries.npy"
"""Files in the work folder: what the memories are filled with, and what their recall is measured on; both of shape
(memory layers, rows, n, head_dim)."""
CHUNK = 1024  # entries per add while a memory is filled, which is not timed


class Side(ABC):
    """A model with a memory of one head of keys per row, in each of its memory layers."""

    name: str
    model: nn.Module
    below = 0
    """How many entries less than its capacity a memory begins the steps with, for it cannot make room."""

    @abstractmethod
    def __init__(self, shape: dict[str, Any]) -> None:
        """Make the model and its memories, which are empty."""

    @abstractmethod
    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Add (rows, n, head_dim) keys and values to the memory of a layer."""

    @abstractmethod
    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a segment, having searched the memories."""

    @abstractmethod
    def commit(self) -> None:
        """Write the segment to the memories, unless the forward pass did."""

    @abstractmethod
    def answers(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """What the first memory finds and holds: scores (rows, q, k) and keys (rows, n, head_dim)."""


class Memstack(Side):
    """A backend at its default options; the keys' one head serves all query heads."""

    name = "memstack"

    def __init__(self, shape: dict[str, Any]) -> None:
        from memstack_models.training.stream import create_bank
        from memstack_models.transformer.config import ModelConfig
        from memstack_models.transformer.transformer import Transformer

        from memstack.plugins.config import MemoryConfig

        names = ("layers", "dim", "heads", "head_dim", "memory_layers")
        sizes = {name: shape[name] for name in names} | {"kv_heads": 1, "ffn_dim": 4 * shape["dim"]}
        config = ModelConfig.model_validate(sizes)
        memory = MemoryConfig(backend=shape["backend"], capacity=shape["entries"])
        self.model = Transformer(config, shape["vocabulary"], shape["neighbours"])
        self.bank = create_bank(config, memory, shape["rows"], torch.device("cpu"))

    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        self.bank[self.bank.layers[layer]].add(keys[:, None], values[:, None])

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        logits, self.new = self.model(tokens, self.bank)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def commit(self) -> None:
        self.bank.commit(self.new.of_layers(self.bank.layers))

    def answers(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        memory = self.bank[self.bank.layers[0]]
        return memory.search(queries[:, None], k).scores[:, 0], memory.state_dict()["keys"][:, 0]


class Peer(Side):
    """The peer at its defaults: an HNSW graph of faiss per row, the values in a file; its forward pass writes."""

    name = "memorizing-transformers-pytorch"

    def __init__(self, shape: dict[str, Any]) -> None:
        # It is installed in the peer's environment alone.
        from memorizing_transformers_pytorch import MemorizingTransformer  # pyright: ignore[reportMissingImports]

        model: Any = MemorizingTransformer(
            num_tokens=shape["vocabulary"],
            dim=shape["dim"],
            depth=shape["layers"],
            heads=shape["heads"],
            dim_head=shape["head_dim"],
            memorizing_layers=tuple(shape["memory_layers"]),
            num_retrieved_memories=shape["neighbours"],
            # Once it holds more than it may, it forgets everything.
            max_knn_memories=shape["entries"] + shape["steps"] * shape["segment"],
            knn_memories_directory=str(Path(shape["folder"]) / "memories"),
            knn_memory_multiprocessing=shape["processes"],
        )
        self.model = model
        self.memories = model.create_knn_memories(batch_size=shape["rows"])
        self.below = shape["steps"] * shape["segment"] // 2

    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        self.memories[layer].add(torch.stack([keys, values], 2))

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self.model(tokens, knn_memories=self.memories, labels=targets)

    def commit(self) -> None:
        pass

    def look_further(self, ef_search: int) -> None:
        """Have every graph keep so many candidates, of which it returns the best."""
        for index in (knn.index for memory in self.memories for knn in memory.knns):
            index.hnsw.efSearch = ef_search

    def answers(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        indexes = [knn.index for knn in self.memories[0].knns]
        found = [index.search(asked, k)[0] for index, asked in zip(indexes, queries.numpy(), strict=True)]
        held = [index.reconstruct_n(0, index.ntotal) for index in indexes]
        return torch.from_numpy(np.stack(found)), torch.from_numpy(np.stack(held))


SIDES: dict[str, type[Side]] = {side.name: side for side in (Memstack, Peer)}


def filled(side: Side, shape: dict[str, Any]) -> int:
    """Fill all memories with the last keys of the file, as many as they begin with; return how many."""
    keys = torch.from_numpy(np.load(Path(shape["folder"]) / KEYS))
    entries = shape["entries"] - side.below
    for layer, mine in enumerate(keys[:, :, keys.shape[2] - entries :]):
        for part in mine.split(CHUNK, 1):
            side.fill(layer, part, torch.randn_like(part))
    return entries


def step(side: Side, optimizer: torch.optim.Optimizer, shape: dict[str, Any]) -> float:
    """Milliseconds of a training step over random text: one takes as long whatever is read."""
    # Token 0 is the peer's padding.
    text = torch.randint(1, shape["vocabulary"], (shape["rows"], shape["segment"] + 1))
    start = time.perf_counter()
    side.loss(text[:, :-1], text[:, 1:]).backward()
    optimizer.step()
    optimizer.zero_grad()
    side.commit()
    return 1e3 * (time.perf_counter() - start)


@torch.no_grad()
def recall(side: Side, shape: dict[str, Any]) -> float:
    """Share of the true neighbours, or as good ones, that the first memory finds."""
    queries = torch.from_numpy(np.load(Path(shape["folder"]) / QUERIES))[0]
    k = shape["neighbours"]
    scores, keys = side.answers(queries, k)
    worst = (queries @ keys.mT).topk(k).values[..., -1:]
    return float((scores >= worst - 1e-5).float().mean())


def tune(side: Side, shape: dict[str, Any]) -> int:
    """Double the peer's efSearch, which is k if it is less, until its recall is what is asked for; return it."""
    assert isinstance(side, Peer)
    ef_search = shape["neighbours"]
    while recall(side, shape) < shape["recall"] and ef_search < shape["entries"]:
        ef_search *= 2
        side.look_further(ef_search)
    return ef_search


def main(name: str, request: str) -> None:
    """Fill, say so, and answer every line of the standard input."""
    shape = json.loads(request)
    torch.manual_seed(0)
    side = SIDES[name](shape)
    optimizer = torch.optim.AdamW(side.model.parameters())
    ask: dict[str, Callable[[], float]] = {
        "step": lambda: step(side, optimizer, shape),
        "recall": lambda: recall(side, shape),
        "tune": lambda: tune(side, shape),
    }
    parameters = sum(parameter.numel() for parameter in side.model.parameters())
    _say({"entries": filled(side, shape), "parameters": parameters, "version": version(name)})
    for line in sys.stdin:
        _say({line.strip(): ask[line.strip()]()})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
