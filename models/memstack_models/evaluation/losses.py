"""The loss of every token, kept while documents are read: by document, and for a file that others can analyse."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memstack import ConfigError
from memstack.contract.errors import printable
from memstack.contract.metrics import bits_per_byte, perplexity
from memstack.plugins.writing import write_whole
from memstack_models.data.reader import IGNORED, Segment
from memstack_models.evaluation.records import DocumentPerplexity
from memstack_models.evaluation.spread import SEGMENT, Segments
from memstack_models.training.ranks import Ranks

FORMATS = (".npz", ".jsonl")
Columns = dict[str, Tensor]


@dataclass
class TokenLosses:
    """What an evaluation observes: the loss in nats of each predicted token, and where the token is."""

    _parts: list[tuple[Tensor, ...]] = field(default_factory=list[tuple[Tensor, ...]])

    def observe(self, segment: Segment, nats: Tensor, _new: object = None) -> None:
        """Keep what a segment's targets cost, (rows, segment)."""
        read = segment.targets != IGNORED
        documents = segment.document[:, None].expand_as(read)
        positions = segment.offset[:, None] + 1 + torch.arange(read.shape[1], dtype=torch.int64, device="cpu")
        self._parts.append((documents[read], positions[read], segment.targets[read], nats[read]))

    def over(self, ranks: Ranks) -> "TokenLosses":
        """Return what all ranks have observed, on the first of them; on the others it is what they have themselves."""
        if ranks.size == 1:
            return self
        parts = [ranks.gathered(torch.cat(part)) for part in zip(*self._parts, strict=True)]
        return TokenLosses(list(zip(*parts, strict=True))) if ranks.first else self

    def columns(self) -> Columns:
        """Return document, position, token and nats, (tokens,) each, in the order of the text."""
        columns = [torch.cat(part) for part in zip(*self._parts, strict=True)]
        document, position = columns[:2]
        order = torch.argsort(document * (int(position.max()) + 1) + position)
        names = ("document", "position", "token", "nats")
        return {name: column[order] for name, column in zip(names, columns, strict=True)}

    def segments(self, length: int = SEGMENT) -> Segments:
        """Return the losses of pieces of so many predicted tokens, whatever the model read at once."""
        read = self.columns()
        piece = (read["position"] - 1) // length
        pairs, place = torch.stack([read["document"], piece]).unique(dim=1, return_inverse=True)
        nats, tokens = (torch.zeros(pairs.shape[1], dtype=torch.float64, device="cpu") for _ in range(2))
        nats.index_add_(0, place, read["nats"].double())
        tokens.index_add_(0, place, torch.ones_like(read["nats"], dtype=torch.float64))
        return Segments(
            documents=tuple(pairs[0].tolist()),
            starts=tuple((pairs[1] * length).tolist()),
            nats=tuple(round(each, 4) for each in nats.tolist()),
            tokens=tuple(map(int, tokens.tolist())),
        )

    def by_document(self, names: Sequence[str], token_bytes: Tensor) -> tuple[DocumentPerplexity, ...]:
        """Return what came of each document, the longest first; ``token_bytes`` as for ``evaluate``."""
        read = self.columns()
        nats, tokens, size = (torch.zeros(len(names), dtype=torch.float64, device="cpu") for _ in range(3))
        nats.index_add_(0, read["document"], read["nats"].double())
        tokens.index_add_(0, read["document"], torch.ones_like(read["nats"], dtype=torch.float64))
        size.index_add_(0, read["document"], token_bytes[read["token"]].double())
        found = [
            DocumentPerplexity(
                name=printable(name),
                tokens=int(count),
                perplexity=perplexity(loss, int(count)),
                bits_per_byte=bits_per_byte(loss, int(length)),
            )
            for name, loss, count, length in zip(names, nats.tolist(), tokens.tolist(), size.tolist(), strict=True)
        ]
        return tuple(sorted(found, key=lambda each: -each.tokens))


def check_losses_file(path: Path) -> Path:
    """Return the path; ConfigError if its name is of no format that is written, or if it is a folder."""
    if path.suffix not in FORMATS or path.is_dir():
        what = "is a folder" if path.is_dir() else f"ends in {path.suffix or 'nothing'}"
        raise ConfigError(f"--losses {path} {what}; name a file that ends in {' or '.join(FORMATS)}")
    return path


def write_losses(path: Path, names: Sequence[str], losses: Mapping[str, TokenLosses]) -> None:
    """Write the losses of each memory, which have read the same tokens, side by side; the file is there whole or not.

    A ``.npz`` holds ``names`` of documents and, for each token, ``document`` (an index into them), ``position``,
    ``token`` and a column of nats by memory; a ``.jsonl`` a line for each token.
    """
    columns = {name: each.columns() for name, each in losses.items()}
    first = next(iter(columns.values()))
    places = {name: first[name].to(torch.int32).numpy() for name in ("document", "position", "token")}
    nats = {name: each["nats"].to(torch.float32).numpy() for name, each in columns.items()}
    shown = [printable(name) for name in names]
    content = io.BytesIO()
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {"names": np.array(shown), **places, **nats}
        np.savez_compressed(content, **arrays)
    else:
        for row in zip(*(each.tolist() for each in (*places.values(), *nats.values())), strict=True):
            line = dict(zip((*places, *nats), row, strict=True))
            content.write(json.dumps(line | {"document": shown[row[0]]}).encode() + b"\n")
    write_whole(path, content.getvalue())
