"""How much memory there is: of this machine, what it may swap included, or as much as its processes may have."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


def machine_bytes() -> int | None:
    """Return the most bytes that this process could hold; None where that is not known.

    Memory and swap of the machine or, if that is less, of a control group that the process is in (a container's, a
    service's, a batch job's): the most, so that nothing is refused that would fit.
    """
    machine, swap = _machine()
    known = [machine, *_group_limits(swap)]
    return min((each for each in known if each is not None), default=None)


def _machine() -> tuple[int | None, int]:
    """The machine's memory, swap included, and its swap."""
    with contextlib.suppress(OSError):
        found = dict(re.findall(r"^(\w+): +(\d+) kB", MEMINFO.read_text(encoding="utf-8"), re.MULTILINE))
        if "MemTotal" in found:
            swap = 1024 * int(found.get("SwapTotal", 0))
            return 1024 * int(found["MemTotal"]) + swap, swap
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 0
    return None, 0


def _group_limits(swap: int) -> Iterator[int]:
    """What each control group around the process lets it have; of both versions, inside of containers and out."""
    own = _own_groups()
    for folder in _upwards(GROUPS, own.get("", "/")):
        limit = _number(folder / "memory.max")
        if limit is not None:
            swapped = _number(folder / "memory.swap.max")
            yield limit + (swap if swapped is None else min(swap, swapped))
    for folder in _upwards(GROUPS / "memory", own.get("memory", "/")):
        limits = _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.memsw.limit_in_bytes")
        if limits[0] is not None:
            yield min(limits[0] + swap, limits[0] + swap if limits[1] is None else limits[1])


def _own_groups() -> Mapping[str, str]:
    """The process's groups by controller, as ``/proc/self/cgroup`` has them; that of version 2 has no name."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = (line.split(":", 2) for line in OWN_GROUPS.read_text(encoding="utf-8").splitlines())
        return {name: parts[2] for parts in lines if len(parts) == 3 for name in parts[1].split(",")}
    return {}


def _upwards(root: Path, group: str) -> Iterator[Path]:
    """The folders of a group and of all those around it."""
    inside = PurePosixPath(group.lstrip("/"))
    return (root / each for each in (inside, *inside.parents)) if ".." not in inside.parts else iter((root,))


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no such file, or no number in it, as ``max`` is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
