"""Recorded: a key stream of what a trained model really stored and asked, instead of invented keys."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from memstack.contract.errors import ShapeError
from memstack.contract.shape import MemoryShape
from memstack.measure.keysets import BLOCK, KeyStream

GOLDEN = 0.618  # of the recording, from one seed's start to the next: no two of the first few are near


@dataclass(frozen=True, eq=False)
class Recording:
    """What a model stored and asked, in order: one memory per memory layer and head, all of the same text."""

    keys: Float[Tensor, "memories entries key_dim"]
    """In half precision."""
    queries: Float[Tensor, "memories entries key_dim"]
    """Asked at the token whose key is at the same place; where heads share a memory, by each of them in turn."""
    segment: int
    """Tokens that the model read at once: a query saw none of the keys of its own segment in the memory."""

    @property
    def memories(self) -> int:
        """How many memories were recorded."""
        return self.keys.shape[0]

    @property
    def entries(self) -> int:
        """How many entries each of them was given."""
        return self.keys.shape[1]

    @property
    def key_dim(self) -> int:
        """The keys' dimensions."""
        return self.keys.shape[2]


class Recorded(KeyStream):
    """Recorded keys in the order in which they were stored, and the queries that the model asked next.

    The rows' heads take the recorded memories in turn; where there are fewer of them, they are spread over all that
    were recorded, so that every memory layer is among them. Where there are more of them than were recorded, each
    further round starts elsewhere in the text, at even distances; another seed starts all of them elsewhere. Behind the
    end of the text comes its beginning, as another document might: the stream is endless, and repeats after ``entries``
    keys. ShapeError where a memory would therefore hold what its queries' segment is about to store, as no model's
    does, or where keys have another dimension.
    """

    def __init__(
        self, shape: MemoryShape, recording: Recording, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        _check(shape, recording)
        super().__init__(shape, seed, device)
        self.recording = recording
        memory = torch.arange(shape.rows * shape.heads, dtype=torch.int64, device="cpu")
        rounds = -(-len(memory) // recording.memories)
        start = memory // recording.memories * recording.entries // rounds + int(seed * GOLDEN * recording.entries)
        spread = max(1, recording.memories // len(memory))
        self._memory, self._start = (memory * spread % recording.memories)[:, None], start[:, None]
        self._made, self._taken = 0, 0

    def keys(self, n: int) -> Float[Tensor, "rows heads n key_dim"]:
        taken = super().keys(n)
        self._taken += n
        return taken

    def _block(self) -> Tensor:
        self._made += BLOCK
        return self._at(
            self.recording.keys, torch.arange(self._made - BLOCK, self._made, dtype=torch.int64, device="cpu")
        )

    def _questions(self, q: int) -> Tensor:
        """Those of the segment after the newest key, in order: all if q is a segment, a choice if it is less."""
        segment = self.recording.segment
        if q > segment:
            raise ShapeError(f"the recorded model asked {segment} queries at once, {q} were wanted: ask for fewer")
        place = torch.randperm(segment, generator=self._asking, dtype=torch.int64, device="cpu")[:q].sort().values
        return self._at(self.recording.queries, self._taken + place)

    def _at(self, recorded: Tensor, place: Tensor) -> Float[Tensor, "rows heads n key_dim"]:
        """What was recorded at these places of each memory's own text, rounded anew to unit length."""
        found = recorded[self._memory, (self._start + place) % self.recording.entries].float()
        return normalize(found, dim=-1).view(self.shape.rows, self.shape.heads, len(place), self.shape.key_dim)


def _check(shape: MemoryShape, recording: Recording) -> None:
    if shape.key_dim != recording.key_dim:
        raise ShapeError(
            f"the recorded keys have key_dim={recording.key_dim}, the memory has {shape.key_dim}: give it the former"
        )
    if shape.capacity + recording.segment > recording.entries:
        raise ShapeError(
            f"a memory of {shape.capacity} entries, asked the {recording.segment} queries that follow them, needs more "
            f"than the {recording.entries} that were recorded: record more, or lower its capacity"
        )
