"""KEY_SETS: streams of unit keys, from no structure at all to endless repetition, and queries to ask of each."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from memstack.contract.shape import MemoryShape

BLOCK = 256  # keys made at once, and how many of the newest ones queries resemble: half an attention segment
CLUSTERS = 64
CORRELATION = 512  # keys after which a drifting centre has kept 1/e of its direction: a page or so of text
PERIOD = 32
NOISE = 0.5  # length of the noise on a unit key: two keys of one centre have a cosine of about 0.8


class KeyStream(ABC):
    """An endless stream of unit keys, different in every row and head, and of unit queries that suit it.

    The same seed gives the same keys in whatever portions they are taken, and asking queries does not change the keys
    to come. All numbers are drawn on the CPU and then moved to ``device``, so that every device gets the same.
    """

    def __init__(self, shape: MemoryShape, seed: int = 0, device: torch.device | str = "cpu") -> None:
        self.shape = shape
        self.device = torch.device(device)
        self._random = torch.Generator().manual_seed(seed)
        # Drawn from the seed rather than next to it: seed 1's keys are not seed 0's queries.
        self._asking = torch.Generator().manual_seed(
            int(torch.randint(2**62, (), generator=self._random, dtype=torch.int64, device="cpu"))
        )
        self._left = torch.empty(shape.rows, shape.heads, 0, shape.key_dim, dtype=torch.float32, device="cpu")
        self._recent = self._left

    def keys(self, n: int) -> Float[Tensor, "rows heads n key_dim"]:
        """Return the next n keys of every row and head."""
        parts = [self._left]
        parts += [self._block() for _ in range(math.ceil((n - self._left.shape[2]) / BLOCK))]
        made = torch.cat(parts, 2)
        taken, self._left = made[:, :, :n], made[:, :, n:].clone()
        self._recent = torch.cat([self._recent, taken[:, :, -BLOCK:]], 2)[:, :, -BLOCK:]
        return taken.to(self.device)

    def queries(self, q: int) -> Float[Tensor, "rows heads q key_dim"]:
        """Return q queries for every row and head, as a model asks them that has just read the keys taken so far."""
        return self._questions(q).to(self.device)

    @abstractmethod
    def _block(self) -> Float[Tensor, "rows heads BLOCK key_dim"]:
        """Make the next ``BLOCK`` keys."""

    def _questions(self, q: int) -> Float[Tensor, "rows heads q key_dim"]:
        """Near keys among the newest ``BLOCK``: attention asks for more of what it is reading."""
        if not self._recent.shape[2]:
            raise ValueError("queries resemble the newest keys: take some keys first")
        return self._near(_choice(self._recent, q, self._asking), self._asking)

    def _normal(self, n: int, random: torch.Generator) -> Float[Tensor, "rows heads n key_dim"]:
        """Vectors in random directions, of length about 1."""
        shape = self.shape
        return torch.randn(
            shape.rows, shape.heads, n, shape.key_dim, generator=random, dtype=torch.float32, device="cpu"
        ) / math.sqrt(shape.key_dim)

    def _near(self, points: Tensor, random: torch.Generator) -> Tensor:
        return normalize(points + NOISE * self._normal(points.shape[2], random), dim=-1)


class Isotropic(KeyStream):
    """Random directions, asked for in random directions: nothing to exploit, the worst case of every pruning index.

    A query near a key would find that one trivially and tell nothing about its other neighbours.
    """

    def _block(self) -> Tensor:
        return normalize(self._normal(BLOCK, self._random), dim=-1)

    def _questions(self, q: int) -> Tensor:
        return normalize(self._normal(q, self._asking), dim=-1)


class Clustered(KeyStream):
    """Keys round 64 fixed centres in random order, and queries round the same: the best case of inverted lists."""

    def __init__(self, shape: MemoryShape, seed: int = 0, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, seed, device)
        self._centres = normalize(self._normal(CLUSTERS, self._random), dim=-1)

    def _block(self) -> Tensor:
        return self._near(_choice(self._centres, BLOCK, self._random), self._random)

    def _questions(self, q: int) -> Tensor:
        return self._near(_choice(self._centres, q, self._asking), self._asking)


class Drifting(KeyStream):
    """Keys round a centre that wanders, as a text's subject does: neighbours in time are alike, early and late are not.

    The centre is a first-order autoregression in every coordinate. Queries are near the newest keys, where an index
    that was trained on early ones knows least.
    """

    def __init__(self, shape: MemoryShape, seed: int = 0, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, seed, device)
        self._centre = self._normal(1, self._random)
        self._kept = torch.exp(-torch.arange(BLOCK + 1, dtype=torch.float32, device="cpu") / CORRELATION)

    def _block(self) -> Tensor:
        # The recursion centre' = kept * centre + step, unrolled over a block into one triangular matrix product.
        age = torch.arange(BLOCK, dtype=torch.int64, device="cpu")[:, None] - torch.arange(
            BLOCK, dtype=torch.int64, device="cpu"
        )
        steps = self._normal(BLOCK, self._random) * (1 - self._kept[1] ** 2).sqrt()
        centres = self._kept[1:, None] * self._centre + (self._kept[age.clamp(min=0)] * (age >= 0)) @ steps
        self._centre = centres[:, :, -1:]
        return self._near(centres, self._random)


class Repeating(KeyStream):
    """The same 32 keys over and over, exactly: boilerplate, tables, padding. Queries are near them, with noise.

    Every true neighbour has copies at distances that divide powers of two and the usual k, so that strided buckets put
    all of them together, and a graph's links lead only from copy to copy. Copies tie: measure recall by score.
    """

    def __init__(self, shape: MemoryShape, seed: int = 0, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, seed, device)
        self._period = normalize(self._normal(PERIOD, self._random), dim=-1)

    def _block(self) -> Tensor:
        return self._period.repeat(1, 1, BLOCK // PERIOD, 1)


KEY_SETS: dict[str, type[KeyStream]] = {
    "isotropic": Isotropic,
    "clustered": Clustered,
    "drifting": Drifting,
    "repeating": Repeating,
}
"""The key sets by name, from the least structure to the most; ``KEY_SETS[name](shape, seed)`` starts a stream."""


def _choice(points: Tensor, n: int, random: torch.Generator) -> Tensor:
    """Pick n of the (rows, heads, some, key_dim) points, in each row and head others, with repetition."""
    chosen = torch.randint(
        points.shape[2], (*points.shape[:2], n, 1), generator=random, dtype=torch.int64, device="cpu"
    )
    return points.gather(2, chosen.expand(-1, -1, -1, points.shape[3]))
