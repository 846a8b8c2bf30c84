"""One memory over several ranks of torch.distributed, which is imported when such a memory is made."""

from memstack.wrappers.sharded.dealt import DealtMemory
from memstack.wrappers.sharded.memory import ShardedMemory
from memstack.wrappers.sharded.merging import join_shards

__all__ = ["DealtMemory", "ShardedMemory", "join_shards"]
