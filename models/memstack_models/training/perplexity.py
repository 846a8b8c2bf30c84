"""Perplexity of held-out documents, by position in the document, with whatever memory the configuration names."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from memstack.contract.metrics import bits_per_byte, perplexity
from memstack_models.data.reader import IGNORED, Segment
from memstack_models.training.ranks import Ranks
from memstack_models.training.records import Perplexity
from memstack_models.training.stream import Stream
from memstack_models.transformer.transformer import SegmentOutput, Transformer

EDGES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18)
BUCKETS = ("0-1k", "1k-4k", "4k-16k", "16k-64k", "64k-256k", "256k+")
BEYOND_4K = BUCKETS.index("4k-16k")
Observe = Callable[[Segment, Tensor, SegmentOutput], None]
"""Told a segment, the nats of its targets (rows, segment), on the CPU, 0 where a target is IGNORED; and all the rest
that the model made of it."""


@dataclass
class Evaluation:
    """Negative log-likelihood in nats, tokens and bytes, by position of the predicted token in its document."""

    nats: Tensor = field(default_factory=lambda: torch.zeros(len(BUCKETS), dtype=torch.float64, device="cpu"))
    tokens: Tensor = field(default_factory=lambda: torch.zeros(len(BUCKETS), dtype=torch.int64, device="cpu"))
    text_bytes: Tensor = field(default_factory=lambda: torch.zeros(len(BUCKETS), dtype=torch.int64, device="cpu"))
    furthest: int = 0
    """Where reading ended: one more than the furthest position."""

    def add(self, positions: Tensor, nats: Tensor, text_bytes: Tensor) -> None:
        """Count predicted tokens: three tensors of one shape."""
        if positions.numel():
            self.furthest = max(self.furthest, int(positions.max()) + 1)
        bucket = torch.bucketize(positions.flatten(), torch.tensor(EDGES, dtype=torch.int64, device="cpu"), right=True)
        self.nats.index_add_(0, bucket, nats.flatten().double())
        self.tokens.index_add_(0, bucket, torch.ones_like(bucket))
        self.text_bytes.index_add_(0, bucket, text_bytes.flatten())

    def perplexity(self, first: int = 0) -> float:
        """Perplexity per token from bucket ``first`` on."""
        return perplexity(float(self.nats[first:].sum()), int(self.tokens[first:].sum()))

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of the text read."""
        return bits_per_byte(float(self.nats.sum()), int(self.text_bytes.sum()))

    def by_position(self) -> dict[str, float]:
        """Perplexity of each stretch of the documents that was read, as 1k-4k; the last ends where reading did."""
        stretches = zip(self._names(), self.nats.tolist(), self.tokens.tolist(), strict=True)
        return {name: perplexity(nats, tokens) for name, nats, tokens in stretches if tokens}

    def _names(self) -> list[str]:
        """The names of all stretches: the one in which reading ended is called after its end."""
        last = int(
            torch.bucketize(
                torch.tensor(self.furthest - 1, dtype=torch.int64, device="cpu"),
                torch.tensor(EDGES, dtype=torch.int64, device="cpu"),
                right=True,
            )
        )
        begin, end = (0, *EDGES)[last], self.furthest
        short = f"{thousands(begin)}-{thousands(end)}"
        own = short if thousands(begin) != thousands(end) else f"{begin}-{end}"
        return [own if i == last and end else name for i, name in enumerate(BUCKETS)]

    def over(self, ranks: Ranks) -> "Evaluation":
        """Return it with what the other ranks have read."""
        nats, tokens, text_bytes = (ranks.total(each) for each in (self.nats, self.tokens, self.text_bytes))
        return Evaluation(nats, tokens, text_bytes, ranks.most(self.furthest))

    def result(self) -> Perplexity:
        """Return what came of it, as it is written down."""
        return Perplexity(
            perplexity=self.perplexity(),
            perplexity_beyond_4k=self.perplexity(BEYOND_4K) if int(self.tokens[BEYOND_4K:].sum()) else None,
            bits_per_byte=self.bits_per_byte,
            tokens=int(self.tokens.sum()),
            by_position=self.by_position(),
        )


def thousands(tokens: int) -> str:
    """Return a number of tokens in units of 1,024, such as 512 or 4k."""
    return f"{tokens / 1024:.3g}k" if tokens >= 1024 else str(tokens)


@torch.no_grad()
def evaluate(
    model: Transformer,
    stream: Stream,
    token_bytes: Tensor,
    advance: Callable[[int], None] = lambda tokens: None,
    observe: Observe = lambda segment, nats, new: None,
) -> Evaluation:
    """Walk every document of the stream from its start to its end; the stream's memories should be new.

    ``token_bytes`` (vocab,) says how many bytes a token stands for; ``advance`` is told how many tokens were read,
    ``observe`` what each cost.
    """
    device = model.embedding.weight.device
    result = Evaluation()
    was_training = model.training
    model.eval()
    try:
        for segment in stream:
            logits, new = model(segment.tokens.to(device), stream.bank, stream.cache)
            stream.commit(new)
            nats = _nats(segment, logits)
            observe(segment, nats, new)
            _count(result, segment, nats, token_bytes)
            advance(segment.predicted)
    finally:
        model.train(was_training)
    return result


def _nats(segment: Segment, logits: Tensor) -> Tensor:
    """The loss of each target (rows, segment), on the CPU."""
    targets = segment.targets.flatten().to(logits.device)
    nats = cross_entropy(logits.flatten(0, 1).float(), targets, reduction="none")
    return nats.cpu().view_as(segment.targets)


def _count(result: Evaluation, segment: Segment, nats: Tensor, token_bytes: Tensor) -> None:
    read = segment.targets != IGNORED
    positions = segment.offset[:, None] + 1 + torch.arange(segment.targets.shape[1], dtype=torch.int64, device="cpu")
    result.add(positions[read], nats[read], token_bytes[segment.targets[read]])
