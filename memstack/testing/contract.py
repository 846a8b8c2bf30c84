"""MemoryContract: every promise of a memory as a test method, for pytest or for ``check_memory``."""

import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from unittest import SkipTest

from memstack.testing.answers import AnswerContract
from memstack.testing.copies import CopyContract
from memstack.testing.defaults import DefaultContract
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
    DefaultContract,
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

    excluded: ClassVar[Mapping[str, str]] = {}
    """Promises that do not apply to a memory, by the name of their method, and why: they are reported as not run."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, reason in cls.excluded.items():
            if not reason or not hasattr(cls, name):
                raise ValueError(f"excluded should say why of promises of the contract, got {name!r}: {reason!r}")
            setattr(cls, name, _not_run(getattr(cls, name), reason))

    def test_any_sequence_of_steps(self) -> None:
        """Any sequence of add, select, search, reset, save and load gives what plain lists give (hypothesis)."""
        if importlib.util.find_spec("hypothesis") is None:
            raise SkipTest("pip install 'memstack[testing]'")
        from memstack.testing.stateful import run_machine  # only this promise needs hypothesis

        run_machine(self.trial)


def _not_run(promise: Callable[[Any], None], reason: str) -> Callable[[Any], None]:
    @functools.wraps(promise)
    def skip(_: Any) -> None:
        raise SkipTest(reason)

    return skip
