"""check_memory and check_corpus: run a contract without pytest and report each promise."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from unittest import SkipTest

from memstack.contract.corpus import Corpus
from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.testing.contract import MemoryContract
from memstack.testing.corpus_contract import CorpusContract

Contract = MemoryContract | CorpusContract


@dataclass(frozen=True)
class PromiseResult:
    """How one promise fared."""

    name: str
    """The test method, as in ``pytest -k``."""
    promise: str
    """The promise in a sentence."""
    outcome: Literal["pass", "fail", "not run"]
    detail: str
    """Why it failed or was not run, in one line; empty if it passed."""
    seconds: float

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"


@dataclass(frozen=True)
class Report:
    """The results of all promises, in the order of the contract."""

    results: tuple[PromiseResult, ...]

    @property
    def failed(self) -> tuple[PromiseResult, ...]:
        return tuple(result for result in self.results if result.outcome == "fail")

    @property
    def passed(self) -> bool:
        """True if no promise was broken."""
        return not self.failed

    def __iter__(self) -> Iterator[PromiseResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        return "\n".join(_line(result) for result in self.results)


def check_memory(
    backend: str | Callable[[MemoryShape], Memory],
    options: Mapping[str, Any] | None = None,
    *,
    exact: bool | None = None,
    recall_floor: float | None = None,
    only: Collection[str] | None = None,
) -> Report:
    """Test every promise of the contract on a backend, or on whatever a callable makes of a shape.

    ``options`` replace the spec's ``test_options``; a callable has no options. ``exact`` and ``recall_floor`` replace
    what the spec says; a callable is as exact as its memory says, its recall floor 1. ``only`` names the promises to
    test. An unknown or unavailable backend and unfit options raise their own errors.
    """
    chosen = {"backend": backend if isinstance(backend, str) else staticmethod(backend)}
    given = {"options": options, "exact": exact, "recall_floor": recall_floor}
    contract: MemoryContract = type("Checked", (MemoryContract,), chosen | given)()
    return check_contract(contract, only)


def check_corpus(
    corpus: str | Callable[[], Corpus], options: Mapping[str, Any] | None = None, *, only: Collection[str] | None = None
) -> Report:
    """Test every promise of the contract on a corpus, or on whatever a callable makes.

    ``options`` replace the spec's ``test_options``; a callable has no options. ``only`` names the promises to test. An
    unknown or unavailable corpus, unfit options, and a corpus that cannot be built raise their own errors.
    """
    chosen = {"corpus": corpus if isinstance(corpus, str) else staticmethod(corpus), "options": options}
    contract: CorpusContract = type("Checked", (CorpusContract,), chosen)()
    return check_contract(contract, only)


def promises(contract: type[Contract] = MemoryContract) -> list[str]:
    """Return the names of a contract's test methods, in the order in which they are written."""
    classes = reversed(contract.__mro__)
    return [*dict.fromkeys(name for owner in classes for name in vars(owner) if name.startswith("test_"))]


def check_contract(contract: Contract, only: Collection[str] | None = None) -> Report:
    """Test every promise of a contract that is set up as for pytest, or ``only`` those of these names."""
    contract.make()
    names = promises(type(contract))
    if only is not None and (unknown := set(only) - set(names)):
        raise ValueError(f"the contract has no promise called {', '.join(sorted(unknown))}")
    return Report(tuple(_keep(contract, name) for name in names if only is None or name in only))


def _keep(contract: Contract, name: str) -> PromiseResult:
    test = getattr(contract, name)
    promise = (test.__doc__ or name).strip().partition("\n")[0]
    start = time.perf_counter()
    outcome: Literal["pass", "fail", "not run"] = "pass"
    detail = ""
    try:
        test()
    except SkipTest as reason:
        outcome, detail = "not run", str(reason)
    except Exception as error:  # noqa: BLE001 - a stranger's memory may fail in any way; the report says how
        outcome, detail = "fail", _first_line(error)
    return PromiseResult(name, promise, outcome, detail, time.perf_counter() - start)


def _first_line(error: Exception) -> str:
    message = str(error).strip().partition("\n")[0]
    return message if isinstance(error, AssertionError) else f"{type(error).__name__}: {message}"


def _line(result: PromiseResult) -> str:
    detail = f": {result.detail}" if result.detail else ""
    return f"{result.outcome:8}{result.seconds:6.2f} s  {result.promise}{detail}"
