"""One memory over several ranks of torch.distributed, which is imported when such a memory is made."""

from memstack.wrappers.sharded.dealt import DealtMemory
from memstack.wrappers.sharded.memory import LIMIT_S, ShardedMemory

__all__ = ["LIMIT_S", "DealtMemory", "ShardedMemory"]
