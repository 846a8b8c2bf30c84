"""The thorough check: a memory is tried for a given time or number, at random, in every way it may be used or ended."""

from memstack.testing.thorough.check import check_thoroughly
from memstack.testing.thorough.history import replay
from memstack.testing.thorough.report import Finding, ThoroughReport, Tried

__all__ = ["Finding", "ThoroughReport", "Tried", "check_thoroughly", "replay"]
