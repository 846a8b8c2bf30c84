"""A byte-level language model with a memory layer of its own, on any text: ``python examples/own_layer.py book.txt``.

Nothing but torch and memstack's attention and bank. The text is read as a few documents side by side, segment by
segment; its last part is held out, and read with the memory and without.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from memstack import Memory, MemoryAttention, MemoryBank, MemoryShape, local_attention

DIM, HEADS, ROWS, SEGMENT = 128, 4, 4, 128


class Block(nn.Module):
    """Attention and a feed-forward part; queries and keys are of unit length, and given a memory it is searched too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(DIM), nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.remember = MemoryAttention(HEADS, neighbours=32, learn_scale=True)
        self.ffn = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        q, k = normalize(q, dim=-1), normalize(k, dim=-1)
        local, lse = local_attention(q, k, v, scale=10)
        mixed, _ = self.remember(memory, q, local, lse, scale=10)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.ffn(x), (k, v)


class Model(nn.Module):
    """Two blocks: the first looks at what stands before each byte, so that the second's keys say what follows what."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.places = nn.Embedding(256, DIM), nn.Embedding(SEGMENT, DIM)
        self.blocks, self.head = nn.ModuleList([Block(), Block()]), nn.Linear(DIM, 256)

    def forward(self, text: Tensor, bank: MemoryBank) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
        x, new = self.bytes(text) + self.places.weight[: text.shape[1]], {}
        for layer, block in enumerate(self.blocks, 1):
            x, new[layer] = block(x, bank.get(layer))
        return self.head(x), {layer: new[layer] for layer in bank.layers}


def segments(text: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Read (rows, bytes) in order: what is seen, what follows, and True where a row begins a document."""
    for start in range(0, text.shape[1] - SEGMENT, SEGMENT):
        piece = text[:, start : start + SEGMENT + 1]
        yield piece[:, :-1], piece[:, 1:], torch.full((len(text),), start == 0)


def train(model: Model, bank: MemoryBank, text: Tensor, steps: int) -> None:
    """Forward reads the memory, the step writes it, after backward."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    step = 0
    while step < steps:
        for seen, follows, starts in segments(text):
            bank.reset(starts)
            logits, new = model(seen, bank)
            loss = cross_entropy(logits.flatten(0, 1), follows.flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            bank.commit(new)
            step += 1
            if step % 50 == 0 or step == steps:
                print(f"step {step}: {loss.item() / math.log(2):.2f} bits per byte")
            if step == steps:
                return


@torch.no_grad()
def bits_per_byte(model: Model, bank: MemoryBank, text: Tensor) -> float:
    """Read held-out text as one would use the model: what was read is remembered."""
    losses = []
    for seen, follows, starts in segments(text):
        bank.reset(starts)
        logits, new = model(seen, bank)
        losses.append(cross_entropy(logits.flatten(0, 1), follows.flatten()))
        bank.commit(new)
    return torch.stack(losses).mean().item() / math.log(2)


def main(path: Path, backend: str, steps: int) -> tuple[float, float]:
    """Train on a text; return the bits per byte of its held-out part with the memory and without."""
    text = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).long()
    columns = text[: len(text) // ROWS * ROWS].view(ROWS, -1)
    kept = columns.shape[1] * 4 // 5
    shape = MemoryShape(rows=ROWS, heads=HEADS, key_dim=DIM // HEADS, value_dim=DIM // HEADS, capacity=8192)
    model, bank = Model(), MemoryBank.create(backend, shape, layers=[2])
    train(model, bank, columns[:, :kept], steps)
    found = bits_per_byte(model, bank, columns[:, kept:]), bits_per_byte(model, MemoryBank(), columns[:, kept:])
    print(f"held out: {found[0]:.2f} bits per byte with the memory, {found[1]:.2f} without")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("text", type=Path, nargs="?", default=Path(argparse.__file__), help="any file")
    parser.add_argument("--backend", default="exact", help="as memstack backends lists them")
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    torch.manual_seed(0)
    main(given.text, given.backend, given.steps)
