"""The one use of a memory: attend to what it found, and merge that with a local attention's output."""

from memstack.attention.layer import MemoryAttention
from memstack.attention.local import local_attention
from memstack.attention.merge import Attended, attend

__all__ = ["Attended", "MemoryAttention", "attend", "local_attention"]
