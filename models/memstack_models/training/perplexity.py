"""Perplexity of held-out documents, by position in the document, with whatever memory the configuration names."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from memstack.contract.metrics import bits_per_byte, perplexity
from memstack_models.data.reader import IGNORED, Segment
from memstack_models.training.records import Perplexity
from memstack_models.training.stream import Stream
from memstack_models.transformer.transformer import Transformer

EDGES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18)
BUCKETS = ("0-1k", "1k-4k", "4k-16k", "16k-64k", "64k-256k", "256k+")
BEYOND_4K = BUCKETS.index("4k-16k")


@dataclass
class Evaluation:
    """Negative log-likelihood in nats, tokens and bytes, by position of the predicted token in its document."""

    nats: Tensor = field(default_factory=lambda: torch.zeros(len(BUCKETS), dtype=torch.float64, device="cpu"))
    tokens: Tensor = field(default_factory=lambda: torch.zeros(len(BUCKETS), dtype=torch.int64, device="cpu"))
    text_bytes: Tensor = field(default_factory=lambda: torch.zeros(len(BUCKETS), dtype=torch.int64, device="cpu"))

    def add(self, positions: Tensor, nats: Tensor, text_bytes: Tensor) -> None:
        """Count predicted tokens: three tensors of one shape."""
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
        """Perplexity of each stretch of the documents that was read."""
        stretches = zip(BUCKETS, self.nats.tolist(), self.tokens.tolist(), strict=True)
        return {name: perplexity(nats, tokens) for name, nats, tokens in stretches if tokens}

    def result(self) -> Perplexity:
        """Return what came of it, as it is written down."""
        return Perplexity(
            perplexity=self.perplexity(),
            perplexity_beyond_4k=self.perplexity(BEYOND_4K) if int(self.tokens[BEYOND_4K:].sum()) else None,
            bits_per_byte=self.bits_per_byte,
            tokens=int(self.tokens.sum()),
            by_position=self.by_position(),
        )


@torch.no_grad()
def evaluate(
    model: Transformer,
    stream: Stream,
    token_bytes: Tensor,
    advance: Callable[[int], None] = lambda tokens: None,
) -> Evaluation:
    """Walk every document of the stream from its start to its end; the stream's memories should be new.

    ``token_bytes`` (vocab,) says how many bytes a token stands for; ``advance`` is told how many tokens were read.
    """
    device = model.embedding.weight.device
    result = Evaluation()
    was_training = model.training
    model.eval()
    try:
        for segment in stream:
            logits, new = model(segment.tokens.to(device), stream.bank, stream.cache)
            stream.commit(new)
            advance(_count(result, segment, logits, token_bytes))
    finally:
        model.train(was_training)
    return result


def _count(result: Evaluation, segment: Segment, logits: Tensor, token_bytes: Tensor) -> int:
    nats = cross_entropy(logits.flatten(0, 1).float(), segment.targets.flatten().to(logits.device), reduction="none")
    read = segment.targets != IGNORED
    positions = segment.offset[:, None] + 1 + torch.arange(segment.targets.shape[1], dtype=torch.int64, device="cpu")
    result.add(positions[read], nats.cpu().view_as(read)[read], token_bytes[segment.targets[read]])
    return int(read.sum())
