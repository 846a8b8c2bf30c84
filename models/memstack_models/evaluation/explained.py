"""Explained: of every token of some documents, its loss with and without memory, and what was retrieved for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memstack import ConfigError
from memstack_models.evaluation.losses import TokenLosses
from memstack_models.evaluation.retrievals import Reading
from memstack_models.training.config import RunConfig

ROOM = 14 << 20
"""Bytes that all kept entries may have together: a page holds a third more, for it is text."""
NEAR = 1 << 16
"""Entries closer than this are kept in two bytes each, in a smaller memory all; else in four."""


@dataclass(frozen=True)
class Kept:
    """How much of what is retrieved is kept: the best few entries of every head, so that a page stays small."""

    heads: int
    """Of all memory layers together."""
    entries: int
    """Of each head and token."""
    wide: bool
    """Whether a distance takes four bytes, not two."""

    @classmethod
    def of(cls, run: RunConfig, tokens: int) -> "Kept":
        """Return what there is room for; ConfigError if that is nothing."""
        heads, wide = len(run.model.memory_layers) * run.model.heads, run.memory.capacity + run.train.segment >= NEAR
        each = heads * (5 if wide else 3)
        entries = min(run.memory.neighbours, ROOM // (each * tokens))
        if not entries:
            raise ConfigError(
                f"{tokens:,} tokens are too many for one page: name fewer files, or --tokens below {ROOM // each:,}"
            )
        return cls(heads, entries, wide)


class Explained:
    """What is shown of some documents, their tokens one after the other; filled in while they are read.

    What stands beside a token is what it cost to predict it, and what was retrieved to do so, by the token before. The
    document token is not predicted: there are zeros.
    """

    names: list[str]
    tokens: Int[np.ndarray, " tokens"]
    off: Float[np.ndarray, " tokens"]
    """Nats without memory, float32 as they were computed."""
    on: Float[np.ndarray, " tokens"]
    """With it."""
    shares: UInt8[np.ndarray, "tokens heads"]
    """The memory's part of each head's attention, in 255ths; heads of all memory layers, layer by layer."""
    back: Int[np.ndarray, "tokens heads entries"]
    """How many tokens before this one the found one stands; 0 where nothing was found."""
    weights: UInt8[np.ndarray, "tokens heads entries"]
    """The part of the memory's share that lies on it, in 255ths; the heaviest first."""

    def __init__(self, names: Sequence[str], documents: Sequence[Tensor], kept: Kept) -> None:
        self.names, self.kept = list(names), kept
        self.starts = [0, *np.cumsum([len(each) for each in documents]).tolist()]
        """Where each document begins, and where the last ends."""
        self.tokens = torch.cat(list(documents)).numpy()
        count = len(self.tokens)
        self.off, self.on = np.zeros(count, np.float32), np.zeros(count, np.float32)
        self.shares = np.zeros((count, kept.heads), np.uint8)
        self.back = np.zeros((count, kept.heads, kept.entries), np.uint32 if kept.wide else np.uint16)
        self.weights = np.zeros(self.back.shape, np.uint8)

    @property
    def gain(self) -> Float[np.ndarray, " tokens"]:
        """The nats that memory saves."""
        return self.off - self.on

    def take(self, reading: Reading) -> None:
        """Keep the heaviest entries of what was retrieved."""
        first = self.starts[reading.document] + reading.first + 1
        here = slice(first, first + reading.tokens)
        weights, columns = reading.weights.flatten(0, 1).topk(self.kept.entries)
        positions = reading.positions.flatten(0, 1).gather(-1, columns)
        share = reading.shares.flatten(0, 1)
        place = torch.arange(reading.first + 1, reading.first + 1 + reading.tokens, dtype=torch.int64, device="cpu")
        back = (place[:, None] - positions).masked_fill(positions < 0, 0)
        self.back[here] = back.transpose(0, 1).numpy()
        self.weights[here] = _in_255ths(weights / share[..., None].clamp(min=1e-30)).transpose(0, 1).numpy()
        self.shares[here] = _in_255ths(share).T.numpy()

    def take_losses(self, off: TokenLosses, on: TokenLosses) -> None:
        """Keep what each token cost."""
        for kept, losses in ((self.off, off), (self.on, on)):
            read = losses.columns()
            places = torch.tensor(self.starts, dtype=torch.int64, device="cpu")[read["document"]] + read["position"]
            kept[places.numpy()] = read["nats"].numpy()

    def most(self, count: int, sign: int) -> Int[np.ndarray, " most"]:
        """Return the tokens that gained most, or with a ``sign`` of -1 lost most; the most first."""
        gain = sign * self.gain
        order = np.argsort(-gain, kind="stable")[:count]
        return order[gain[order] > 0]

    def place_of(self, token: int) -> tuple[int, int]:
        """Return the document of a token, and its place in that."""
        document = int(np.searchsorted(self.starts, token, side="right")) - 1
        return document, token - self.starts[document]


def _in_255ths(parts: Tensor) -> Tensor:
    return (parts.clamp(0, 1) * 255).round().to(torch.uint8)
