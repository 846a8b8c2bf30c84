"""How busy others kept the processors while something was measured: a figure of a busy machine is off by half."""

import os
import time
from pathlib import Path

from memstack.cli import console

LIMIT = 0.1
"""Share of the processors beyond which a warning is printed."""
STAT = Path("/proc/stat")


class Watch:
    """What other processes use of all processors from now on; not known but on Linux."""

    def __init__(self) -> None:
        self._all, self._own, self._began = _all_s(), _own_s(), time.perf_counter()

    def others(self) -> float | None:
        """Return the share of the processors' time, from 0 to 1, that others have used so far."""
        now, elapsed = _all_s(), time.perf_counter() - self._began
        if now is None or self._all is None or elapsed <= 0:
            return None
        used = now - self._all - (_own_s() - self._own)
        return round(max(0.0, used / (elapsed * (os.cpu_count() or 1))), 3)

    def tell(self) -> float | None:
        """Print that share, as a warning where it is large; return it."""
        others = self.others()
        if others is not None:
            console.OUT.print(f"others used {others:.0%} of the processors meanwhile")
        if others is not None and others > LIMIT:
            warning = f"warning: that is more than {LIMIT:.0%}, and ratios move by half on a busy machine"
            console.say(f"{warning}: measure again where nothing else runs", "yellow", console.ERR)
        return others


def _own_s() -> float:
    """Seconds of processors that this process has used, and those that it started and that have ended."""
    return sum(os.times()[:4])


def _all_s() -> float | None:
    """Seconds of processors that anybody has used, other machines on this one included."""
    if not STAT.exists():
        return None
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, STAT.read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
