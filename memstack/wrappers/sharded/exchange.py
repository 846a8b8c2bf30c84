"""Exchange: how questions reach every shard, and how the answers come back to whoever asked.

Of S ranks each asks q of its own queries, padded to the largest number of the group, Q. A shard answers S * Q queries
at once, by rank.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from memstack.wrappers.sharded.group import ShardGroup


class Exchange:
    """What is exchanged over one search and all that is done with its answer. Tensors come and go on the CPU."""

    def __init__(self, group: ShardGroup, own: int, longest: int) -> None:
        self.group, self.own, self.longest = group, own, longest

    def to_all(self, mine: Float[Tensor, "rows query_heads q dim"]) -> Float[Tensor, "rows query_heads asked dim"]:
        """Send the same of this rank's queries to every shard; return what all ranks have sent."""
        return self._side_by_side(self.group.gather(self._padded(mine.detach().cpu())))

    def to_each(
        self, parts: Float[Tensor, "shards rows query_heads q dim"]
    ) -> Float[Tensor, "rows query_heads asked dim"]:
        """Send to each shard what is meant for it of this rank's queries; return what all ranks have sent here."""
        return self._side_by_side(self.group.trade(self._padded(parts.detach().cpu())))

    def back(
        self, answers: Float[Tensor, "rows query_heads asked dim"]
    ) -> Float[Tensor, "shards rows query_heads q dim"]:
        """Send what was found here back to the ranks that asked; return what each shard has found for this one."""
        by_rank = answers.detach().cpu().unflatten(2, (self.group.size, self.longest)).movedim(2, 0)
        return self.group.trade(by_rank)[:, :, :, : self.own]

    def _padded(self, mine: Tensor) -> Tensor:
        """With as many queries as the rank that has most."""
        gap = self.longest - self.own
        return pad(mine, (0, 0, 0, gap)) if gap else mine

    def _side_by_side(self, by_rank: Tensor) -> Tensor:
        return by_rank.movedim(0, 2).flatten(2, 3)
