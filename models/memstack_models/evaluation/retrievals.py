"""What every head of every memory layer retrieved for each token, handed on while documents are read."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack import MemoryBank
from memstack.wrappers.retrieval_log import RetrievalLog
from memstack_models.data.reader import IGNORED, Segment
from memstack_models.training.stream import Stream
from memstack_models.transformer.transformer import SegmentOutput


@dataclass(frozen=True, eq=False)
class Reading:
    """What was retrieved by some consecutive tokens of one document, on the CPU.

    A memory is given a row's tokens in order, so that an entry's position in it is a token's place in the document.
    """

    document: int
    first: int
    """The place in the document of the first token; what it retrieves helps to predict the token after it."""
    positions: Int[Tensor, "memory_layers heads tokens k"]
    """Places of the tokens whose keys were found, best first; -1 where nothing was."""
    weights: Float[Tensor, "memory_layers heads tokens k"]
    """The part of a head's attention that lies on each: their sum is the memory's share, where anything was found."""
    shares: Float[Tensor, "memory_layers heads tokens"]
    """The part of a head's attention that lies on the memory."""

    @property
    def tokens(self) -> int:
        """How many tokens were read."""
        return self.shares.shape[-1]


class RetrievalReader:
    """What an evaluation observes: what was retrieved for each token that predicts one."""

    def __init__(self, stream: Stream, take: Callable[[Reading], None]) -> None:
        self._logs = {layer: RetrievalLog(memory) for layer, memory in stream.bank.items()}
        self._take = take
        self.stream = replace(stream, bank=MemoryBank(self._logs))
        """The stream to evaluate: its answers are those of the one given."""

    def observe(self, segment: Segment, _nats: Tensor, new: SegmentOutput) -> None:
        """Hand on what the rows of a segment retrieved, a row at a time, without what is padding."""
        found = [log.take()[-1] for log in self._logs.values()]
        positions = torch.stack([each.positions for each in found]).cpu()
        shares = new.shares.float().cpu()
        weights = torch.stack([each.weights for each in found]).float().cpu() * shares[..., None]
        weights = weights.masked_fill(positions < 0, 0.0)
        for row, read in enumerate((segment.targets != IGNORED).sum(1).tolist()):
            if read:
                document, first = int(segment.document[row]), int(segment.offset[row])
                kept = (each[:, row, :, :read] for each in (positions, weights, shares))
                self._take(Reading(document, first, *kept))
