"""What is installed, read distribution by distribution: a damaged one stands in nobody's way."""

import contextlib
import csv
import functools
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import Distribution, DistributionFinder, EntryPoint, EntryPoints
from typing import Any, TypeVar

from memstack.contract.errors import in_one_line

Value = TypeVar("Value")
POINTS = "entry_points.txt"


def distributions() -> Iterator[Distribution]:
    """Yield every installed distribution, of several with one name the first on the path."""
    seen: set[str] = set()
    for finder in tuple(sys.meta_path):
        for found in _found_by(finder):
            # What the standard library tells them apart by; it reads no file, but raises for a name that is empty.
            name: str | None = _tried(lambda found=found: getattr(found, "_normalized_name", None))
            if name is None or name not in seen:
                seen.update([name] if name else [])
                yield found


def plugin_entries(group: str) -> tuple[list[tuple[EntryPoint, str]], dict[str, str]]:
    """Return the entry points of a group by name, each with what ``described`` says of its distribution.

    And, by distribution, why those cannot be read that may have some.
    """
    points, unreadable = _points(group)
    found = [(point, described(point.dist) if point.dist else "") for point in dict.fromkeys(points)]
    return sorted(found, key=lambda entry: entry[0].name), unreadable


def described(distribution: Distribution) -> str:
    """Return name and version, such as ``torch 2.6.0``, or as much of them as its metadata tells."""
    name, version = _field(distribution, "Name"), _field(distribution, "Version")
    if not name:
        return f"a distribution without a name in {_tried(lambda: distribution.locate_file('')) or 'an unknown place'}"
    return f"{name} {version}" if version else name


def with_version(name: str) -> str:
    """Return the name of a distribution, and its version if that is known here."""
    found = _tried(lambda: importlib.metadata.distribution(name))
    version = _field(found, "Version") if found else ""
    return f"{name} {version}" if version else name


def providers(package: str) -> list[str]:
    """Return name and version of each distribution that has a package, by its import name; itself if none says so."""
    found = {name for each in _by_package().get(package, ()) if (name := _field(each, "Name"))}
    return [with_version(name) for name in sorted(found or {package})]


@functools.cache
def _by_package() -> Mapping[str, list[Distribution]]:
    """Import names -> distributions. Cached: it reads the list of every distribution's files, tens of thousands."""
    found: dict[str, list[Distribution]] = {}
    for each in distributions():
        for package in _tried(lambda each=each: _packages_of(each)) or ():
            found.setdefault(package, []).append(each)
    return found


def spare_others() -> None:
    """Where a damaged distribution makes ``importlib.metadata.entry_points`` raise, have it leave that out from now on.

    torch, pydantic, triton, jax and hypothesis look for plugins of their own by it, and none of them could be imported.
    """
    try:
        importlib.metadata.entry_points(group="memstack")
    except Exception:  # noqa: BLE001 - whatever lies in the files
        importlib.metadata.entry_points = _sound_entry_points


def _points(group: str) -> tuple[list[EntryPoint], dict[str, str]]:
    """All entry points of a group; where a distribution is damaged, the others' and what is wrong with it."""
    if importlib.metadata.entry_points is not _sound_entry_points:
        with contextlib.suppress(Exception):
            return [*importlib.metadata.entry_points(group=group)], {}
    return _sound_points(group)


def _sound_points(group: str) -> tuple[list[EntryPoint], dict[str, str]]:
    """The entry points of a group in every distribution whose can be read, and why others cannot."""
    points: list[EntryPoint] = []
    unreadable: dict[str, str] = {}
    for each in distributions():
        try:
            points += [point for point in each.entry_points if point.group == group]
        except Exception as error:  # noqa: BLE001 - whatever lies in the file
            if _may_offer(each, group):
                unreadable[described(each)] = f"its {POINTS} cannot be read: {in_one_line(error)}"
    return points, unreadable


def _sound_entry_points(**selected: Any) -> EntryPoints:
    points = [point for each in distributions() for point in _tried(lambda each=each: [*each.entry_points]) or ()]
    return EntryPoints(points).select(**selected)


def _found_by(finder: object) -> Iterator[Distribution]:
    find: Callable[[DistributionFinder.Context], Iterator[Distribution]] | None
    if find := getattr(finder, "find_distributions", None):
        try:
            yield from find(DistributionFinder.Context())
        except Exception:  # noqa: BLE001 - a stranger's finder takes no other down
            return


def _may_offer(distribution: Distribution, group: str) -> bool:
    """Whether a distribution may have entry points of a group, for all that can be read of it."""
    try:
        return f"[{group}]" in (distribution.read_text(POINTS) or "")
    except Exception:  # noqa: BLE001 - no text at all
        return True


def _packages_of(distribution: Distribution) -> set[str]:
    """The import names that it declares, or those of its Python files."""
    if declared := (distribution.read_text("top_level.txt") or "").split():
        return set(declared)
    return {path.partition("/")[0].removesuffix(".py") for path in _paths_of(distribution) if path.endswith(".py")}


def _paths_of(distribution: Distribution) -> Iterator[str]:
    """The paths of its files. ``files`` makes an object of each, which takes ten times as long as reading the list."""
    record = distribution.read_text("RECORD")
    if record is None:
        yield from map(str, distribution.files or ())
    else:
        lines = record.splitlines()
        yield from (line.partition(",")[0] for line in lines if not line.startswith('"'))
        yield from (row[0] for row in csv.reader(line for line in lines if line.startswith('"')))


def _field(distribution: Distribution, name: str) -> str:
    """A line of the metadata, or nothing."""
    return " ".join(str(_tried(lambda: distribution.metadata[name]) or "").split())


def _tried(read: Callable[[], Value]) -> Value | None:
    """What can be read of a distribution; None if it is too damaged for that."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - whatever lies in the files
        return None
