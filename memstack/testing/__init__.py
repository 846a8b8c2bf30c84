"""The conformance kit: what every memory backend promises, tested with or without pytest."""

from memstack.testing.check import PromiseResult, Report, check_memory, promises
from memstack.testing.contract import MemoryContract
from memstack.testing.oracle import Oracle

__all__ = ["MemoryContract", "Oracle", "PromiseResult", "Report", "check_memory", "promises"]
