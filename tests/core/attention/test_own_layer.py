"""An attention layer with memory of one's own, as the documentation shows it: it learns by its memory alone."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memstack import MemoryAttention, MemoryBank, MemoryShape, local_attention

ROWS, HEADS, DIM, WORDS, SHOWN = 16, 2, 32, 16, 8


class Attention(nn.Module):
    """Causal self-attention that also attends to a memory."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.remember = heads, MemoryAttention(heads, neighbours=8)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, memory):  # type: ignore[no-untyped-def]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        local, lse = local_attention(q, k, v)
        mixed, _ = self.remember(memory, q, local, lse)
        return self.out(mixed.transpose(1, 2).flatten(2)), (k, v)


def last_losses(*, remembers: bool, steps: int = 60) -> float:
    """Of words whose partners were shown in the segment before only; every row and step pairs them anew.

    A segment shows eight words with their partners, then asks for eight: the first for its own, the second for the
    first one's. So what it takes to look a word up is learned from what is at hand.
    """
    torch.manual_seed(0)
    words, partners, layer = nn.Embedding(WORDS, DIM), nn.Embedding(WORDS + 1, DIM), Attention(DIM, HEADS)
    optimizer = torch.optim.Adam([*words.parameters(), *partners.parameters(), *layer.parameters()], lr=1e-2)
    shape = MemoryShape(rows=ROWS, heads=HEADS, key_dim=DIM // HEADS, value_dim=DIM // HEADS, capacity=64)
    bank = MemoryBank.create("exact", shape, layers=[1] if remembers else [])
    losses: list[float] = []
    for _ in range(steps):
        word, partner = (torch.rand(ROWS, WORDS).argsort(1) for _ in range(2))
        bank.reset()
        for shown in (slice(0, SHOWN), slice(SHOWN, WORDS)):
            with_partner = torch.cat([partner[:, shown], torch.full((ROWS, SHOWN), WORDS)], 1)
            text = torch.cat([word[:, shown], word[:, :SHOWN]], 1)
            output, new = layer(words(text) + partners(with_partner), bank.get(1))
            logits = output[:, SHOWN:] @ partners.weight[:WORDS].T
            loss = cross_entropy(logits.flatten(0, 1), partner[:, :SHOWN].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            bank.commit({1: new} if remembers else {})
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


def test_it_learns_what_only_its_memory_holds() -> None:
    """One in sixteen is guessed at a loss of log 16 = 2.77; to tell the eight that were not shown now, 2.08 will do."""
    assert last_losses(remembers=True) < 0.5
    assert last_losses(remembers=False) > 2.0


def test_a_layer_of_ones_own_compiles() -> None:
    torch._dynamo.reset()
    layer = Attention(DIM, HEADS)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    shape = MemoryShape(rows=2, heads=HEADS, key_dim=DIM // HEADS, value_dim=DIM // HEADS, capacity=16)
    outputs: list[Tensor] = []
    for run in (layer, compiled):
        bank = MemoryBank.create("exact", shape, layers=[1])
        inputs = [torch.randn(2, 4, DIM, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
        bank.commit({1: run(inputs[0], bank[1])[1]})
        outputs.append(run(inputs[1], bank[1])[0])
    torch.testing.assert_close(*outputs)
