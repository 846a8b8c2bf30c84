"""A store of a few documents of unit vectors, of two layers, which can be cut off while it is filled."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from memstack.wrappers.common import Header, LayerShape, StoreBuilder
from memstack.wrappers.common.files import Parts

LAYERS = {1: LayerShape(heads=2, key_dim=8, value_dim=6), 4: LayerShape(heads=1, key_dim=4, value_dim=4)}
HEADER = Header(model="toy", digest="d" * 64, layers=LAYERS, dtype="float32")
PIECE = 12
"""Entries that are written together, in place of many."""
SEGMENT = 5


class CutError(Exception):
    """Stands for a kill."""


def parts_of(name: str, begin: int, n: int) -> Parts:
    """What a document's segment gives: other unit vectors for every token of every document."""

    def vectors(layer: int, which: int, dim: int) -> Tensor:
        generator = torch.Generator().manual_seed(100 * ord(name) + 10 * layer + which)
        return normalize(torch.randn(LAYERS[layer].heads, 100, dim, generator=generator), dim=-1)[:, begin : begin + n]

    return {layer: (vectors(layer, 0, of.key_dim), vectors(layer, 1, of.value_dim)) for layer, of in LAYERS.items()}


def read_into(builder: StoreBuilder, documents: Mapping[str, int], stop: int = -1, first: int = 0) -> list[str]:
    """Give a store its documents, by their entries, cut off at segment ``stop``; returns those that were not there."""
    read, segment = list[str](), 0
    for name, entries in documents.items():
        if builder.has(name, name * 64):
            continue
        for begin in range(0, entries, SEGMENT):
            if (segment := segment + 1) == stop:
                raise CutError
            builder.add(parts_of(name, begin, min(SEGMENT, entries - begin)))
        builder.end(name, name * 64, first)
        read.append(name)
    return read
