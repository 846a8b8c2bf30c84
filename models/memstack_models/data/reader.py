"""Rows that each read a document of their own, in order, segment by segment."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from memstack import CorpusError
from memstack_models.data.errors import CheckpointError

IGNORED = -100
"""Target of a position that predicts nothing; what cross_entropy ignores by default."""
IDLE = -1


@dataclass(frozen=True)
class Segment:
    """One step's input. A row never mixes documents; every token but a document's first is a target once."""

    tokens: Int[Tensor, "rows segment"]
    targets: Int[Tensor, "rows segment"]
    """The token after each; IGNORED past a document's end."""
    starts: Bool[Tensor, " rows"]
    """True where a document begins: its row forgets the one before."""
    document: Int[Tensor, " rows"]
    """Index of the document each row reads; -1 where a row has none left."""
    offset: Int[Tensor, " rows"]
    """Position in the document of the row's first token."""
    whole: "Segment | None" = None
    """All rows, if these are some of them; None if these are all."""

    @property
    def predicted(self) -> int:
        """How many targets all rows have, also those that are left out here."""
        return int(((self.whole or self).targets != IGNORED).sum())

    def part(self, rows: slice) -> "Segment":
        """Return these rows of it."""
        parts = {name: getattr(self, name)[rows] for name in ("tokens", "targets", "starts", "document", "offset")}
        return replace(self, **parts, whole=self.whole or self)


class Reader:
    """Endless segments of documents in a new order each epoch, or with ``once`` each document once, longest first.

    ``documents`` are 1-D integer tensors that begin with the document token. A row whose document has ended takes the
    next of a queue common to all rows. CorpusError if there is no document, or one with less than two tokens.
    """

    def __init__(
        self, documents: Sequence[Tensor], rows: int, segment: int, seed: int = 0, *, once: bool = False
    ) -> None:
        if rows < 1 or segment < 1:
            raise CorpusError(f"rows and segment should be 1 or more, got {rows} and {segment}")
        if not documents:
            raise CorpusError("there are no documents to read")
        if short := [i for i, tokens in enumerate(documents) if len(tokens) < 2]:
            raise CorpusError(f"document {short[0]} has less than two tokens, so nothing to predict: leave it out")
        self.documents, self.rows, self.segment = documents, rows, segment
        self.seed, self.once = seed, once
        self._reading = [IDLE] * rows
        self._position = [0] * rows
        self._epoch, self._taken = 0, 0
        self._order = self._ordered()

    def __iter__(self) -> Iterator[Segment]:
        return self

    def __next__(self) -> Segment:
        for row in range(self.rows):
            self._turn_page(row)
        if all(document == IDLE for document in self._reading):
            raise StopIteration
        offset = torch.tensor(self._position, dtype=torch.int64, device="cpu")
        tokens, targets = (torch.stack(part) for part in zip(*map(self._read, range(self.rows)), strict=True))
        for row in range(self.rows):
            self._position[row] += self.segment
        return Segment(
            tokens, targets, offset == 0, torch.tensor(self._reading, dtype=torch.int64, device="cpu"), offset
        )

    @property
    def predicted_tokens(self) -> int:
        """How many targets one pass over the documents has."""
        return sum(len(tokens) - 1 for tokens in self.documents)

    def state_dict(self) -> dict[str, Tensor]:
        """Return where every row and the queue are."""
        return {
            "document": torch.tensor(self._reading, dtype=torch.int64, device="cpu"),
            "position": torch.tensor(self._position, dtype=torch.int64, device="cpu"),
            "queue": torch.tensor([self._epoch, self._taken], dtype=torch.int64, device="cpu"),
            "made_for": self._made_for,
        }

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """CheckpointError unless the state is of a reader of these documents and rows, somewhere in them."""
        if not torch.equal(state["made_for"].cpu(), self._made_for):
            raise CheckpointError(
                "the saved reader read other documents, or rows: the corpus has changed since then; "
                "give it the documents that it had, or begin a new run"
            )
        positions, (epoch, taken) = state["position"].tolist(), state["queue"].tolist()
        for document, position in zip(state["document"].tolist(), positions, strict=True):
            # A row that is idle, as the last ones of a single reading are, goes on counting to its segment's end.
            longest = self.segment + (len(self.documents[document]) if 0 <= document < len(self.documents) else 0)
            if document < IDLE or document >= len(self.documents) or not 0 <= position <= longest:
                raise CheckpointError(f"the saved reader is at token {position} of document {document}: there is none")
        if not 0 <= taken <= len(self._order) or not 0 <= epoch < 1 << 53:
            raise CheckpointError(f"the saved reader is at document {taken} of epoch {epoch}: there is none")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with just the segments that would have followed; CheckpointError if made for other documents."""
        self.check_state(state)
        self._reading, self._position = state["document"].tolist(), state["position"].tolist()
        self._epoch, self._taken = state["queue"].tolist()
        self._order = self._ordered()

    def _turn_page(self, row: int) -> None:
        """Give a row whose document has ended the next one; without one it stays idle at position 0."""
        document = self._reading[row]
        if document != IDLE and self._position[row] < len(self.documents[document]) - 1:
            return
        self._reading[row], self._position[row] = self._next_document(), 0

    def _next_document(self) -> int:
        if self._taken == len(self._order):
            if self.once:
                return IDLE
            self._epoch, self._taken = self._epoch + 1, 0
            self._order = self._ordered()
        self._taken += 1
        return self._order[self._taken - 1]

    def _ordered(self) -> list[int]:
        """This epoch's order, from seed and epoch alone, so that a resumed reader finds it again."""
        count = len(self.documents)
        if self.once:
            return sorted(range(count), key=lambda i: -len(self.documents[i]))
        # Modulo what a generator takes: a seed may be a clock in nanoseconds.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self._epoch) % (1 << 64))
        return torch.randperm(count, generator=generator, dtype=torch.int64, device="cpu").tolist()

    def _read(self, row: int) -> tuple[Tensor, Tensor]:
        """One row's tokens and targets (segment,), padded past its document's end."""
        tokens = torch.zeros(self.segment, dtype=torch.int64, device="cpu")
        targets = torch.full((self.segment,), IGNORED, dtype=torch.int64, device="cpu")
        if self._reading[row] != IDLE:
            start = self._position[row]
            read = self.documents[self._reading[row]][start : start + self.segment + 1].long()
            tokens[: len(read) - 1], targets[: len(read) - 1] = read[:-1], read[1:]
        return tokens, targets

    @cached_property
    def _made_for(self) -> Tensor:
        """Rows, segment, and a checksum of the documents."""
        check = 0
        for tokens in self.documents:
            for part in tokens.split(1 << 20):
                check = zlib.crc32(part.long().numpy().tobytes(), check)
            check = zlib.crc32(b"|", check)
        return torch.tensor([self.rows, self.segment, len(self.documents), check], dtype=torch.int64, device="cpu")
