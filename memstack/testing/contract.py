"""MemoryContract: every promise of a memory as a test method, for pytest or for ``check_memory``."""

import importlib.util
from unittest import SkipTest

from memstack.testing.answers import AnswerContract
from memstack.testing.copies import CopyContract
from memstack.testing.facts import FactContract
from memstack.testing.gradients import GradientContract
from memstack.testing.inputs import InputContract
from memstack.testing.interrupts import InterruptContract
from memstack.testing.processes import ProcessContract
from memstack.testing.recall import RecallContract
from memstack.testing.rows import RowContract
from memstack.testing.state import StateContract
from memstack.testing.storage import StorageContract
from memstack.testing.taking import TakeContract


class MemoryContract(
    ProcessContract,
    CopyContract,
    FactContract,
    InterruptContract,
    RecallContract,
    StateContract,
    RowContract,
    InputContract,
    TakeContract,
    GradientContract,
    AnswerContract,
    StorageContract,
):
    """The promises that every backend keeps.

    In a plugin's tests::

        from memstack.testing import MemoryContract

        class TestMine(MemoryContract):
            backend = "my-backend"

    One method tests one promise, which is its docstring. ``options`` replace the spec's ``test_options``.
    """

    def test_any_sequence_of_steps(self) -> None:
        """Any sequence of add, select, search, reset, save and load gives what plain lists give (hypothesis)."""
        if importlib.util.find_spec("hypothesis") is None:
            raise SkipTest("pip install 'memstack[testing]'")
        from memstack.testing.stateful import run_machine  # only this promise needs hypothesis

        run_machine(self.trial)
