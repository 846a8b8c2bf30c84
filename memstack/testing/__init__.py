"""The conformance kit: what every memory backend promises, tested with or without pytest."""

from memstack.testing.contract import MemoryContract
from memstack.testing.oracle import Oracle
from memstack.testing.runner import PromiseResult, Report, check_memory, promises
from memstack.testing.wrapping import check_wrapper

__all__ = ["MemoryContract", "Oracle", "PromiseResult", "Report", "check_memory", "check_wrapper", "promises"]
