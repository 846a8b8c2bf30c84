"""The assignment of slots to buckets: in every tile of slots another order, so that what repeats is spread."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor


class BucketAssignment(NamedTuple):
    """Slots dealt into buckets tile after tile: as many slots as buckets, one into each, each tile in another order.

    Slots of one tile never meet in a bucket, and slots of two tiles do with a chance of one in ``buckets``, whatever
    their distance. Were all tiles dealt in one order (slot modulo buckets), text that repeats with a period that
    divides the buckets would lay all copies of a neighbour into one, which keeps one of them.

    An order is a place to start and a step, which is odd: buckets are a power of two, so that steps reach each slot
    once. With a start alone, two tiles in which chance lays one copy on another would do so with all that repeats.
    """

    buckets: int
    starts: Int[Tensor, " tiles"]
    steps: Int[Tensor, " tiles"]

    @property
    def tiles(self) -> int:
        return len(self.starts)

    @property
    def tile_bits(self) -> int:
        """Bits that a tile's number takes."""
        return (self.tiles - 1).bit_length()

    def slot(self, tile: Int[Tensor, "*outer"], bucket: Int[Tensor, "*outer"]) -> Int[Tensor, "*outer"]:
        """Return the slot of a tile that falls into a bucket."""
        within = (self.starts[tile] + bucket * self.steps[tile]) & (self.buckets - 1)
        return tile * self.buckets + within

    def slots(self, tiles: range) -> Int[Tensor, " tiles*buckets"]:
        """Return the slots of these tiles, in each tile from the first bucket's to the last's."""
        device = self.starts.device
        tile = torch.arange(tiles.start, tiles.stop, device=device, dtype=torch.int64)[:, None]
        return self.slot(tile, torch.arange(self.buckets, device=device, dtype=torch.int64)).flatten()


def assign_buckets(entries: int, buckets: int, device: torch.device) -> BucketAssignment:
    """Deal so many slots, and those that the last tile lacks, into a power of two of buckets; always the same way."""
    tiles = -(-entries // buckets)
    random = torch.Generator().manual_seed(0)
    starts, steps = torch.randint(buckets, (tiles, 2), generator=random, dtype=torch.int64, device="cpu").to(device).T
    return BucketAssignment(buckets, starts, steps | 1)
