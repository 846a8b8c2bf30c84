"""Attempts: one measurement after the other, of which none that fails takes another one down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from memstack.contract.errors import in_one_line
from memstack.measure.measurement import TooSlowError
from memstack_models.report.parts import Part, Parts
from memstack_models.report.records import LeftOut

T = TypeVar("T")
Kept = TypeVar("Kept", bound=BaseModel)


@dataclass
class Attempts:
    """Runs one measurement after the other and tells of each; none that fails takes another one down."""

    tell: Callable[[str], None]
    parts: Parts | None = None
    """Where what is measured is kept, and what a report that was cut short has kept is found."""
    failures: list[LeftOut] = field(default_factory=list[LeftOut])
    given_up: list[LeftOut] = field(default_factory=list[LeftOut])

    def attempt(self, part: str, setting: str, entries: int, call: Callable[[], T]) -> T | None:
        """Return what the call returns, or None and a note why it did not."""
        self.tell(f"{part}: {setting}, {entries:,} entries")
        kept, reason = self.failures, ""
        try:
            return call()
        except TooSlowError as error:
            kept, reason = self.given_up, str(error)
        except Exception as error:  # noqa: BLE001 - a stranger's memory may fail in any way, and the others still count
            reason = in_one_line(error)
        kept.append(LeftOut(part=part, setting=setting, entries=entries, reason=reason))
        return None

    def measure(self, part: str, setting: str, entries: int, kind: type[Kept], call: Callable[[], Kept]) -> Kept | None:
        """Return what was measured before, or else attempt it and keep what comes of it."""
        if self.parts is None:
            return self.attempt(part, setting, entries, call)
        name = f"{part}: {setting}, {entries:,} entries"
        if before := self.parts.find(name):
            self.tell(f"{name} (from before)")
            return self._again(
                before, LeftOut(part=part, setting=setting, entries=entries, reason=before.given_up), kind
            )
        given_up = len(self.given_up)
        result = self.attempt(part, setting, entries, call)
        if result is not None:
            self.parts.keep(name, result)
        elif len(self.given_up) > given_up:
            self.parts.keep(name, None, self.given_up[-1].reason)
        return result

    def _again(self, part: Part, left_out: LeftOut, kind: type[Kept]) -> Kept | None:
        if part.value is not None:
            return kind.model_validate(part.value)
        self.given_up.append(left_out)
        return None
