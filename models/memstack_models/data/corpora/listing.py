"""list_files(): everything below a folder: what is a file, and what is left out because it is none."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from memstack.contract.errors import printable
from memstack_models.data.corpora.files import File, UnreadableError

OTHERS = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass
class Listing:
    """What lies below a folder."""

    files: list[File] = field(default_factory=list[File])
    """Sorted by name."""
    left_out: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What is no file, by its kind: a linked folder, which is not followed, a pipe, what is hidden, ..."""
    closed: dict[str, UnreadableError] = field(default_factory=dict[str, UnreadableError])
    """Folders that cannot be listed, by their names."""


def list_files(root: Path, folder: Path) -> Listing:
    """List the files below the folder, at any depth, under their names below the root."""
    found, left = Listing(), [folder]
    while left:
        place = left.pop()
        try:
            with os.scandir(place) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    left += _listed(found, root, entry)
        except OSError as error:
            reason = f"{printable(str(place))} cannot be listed ({error.strerror}): make it readable, or take it out"
            found.closed[printable(place.relative_to(root).as_posix())] = UnreadableError("unreadable folder", reason)
    found.files.sort(key=lambda file: (file.name, file.path))
    return found


def _listed(found: Listing, root: Path, entry: "os.DirEntry[str]") -> Iterator[Path]:
    """Note an entry; a folder is yielded, to be listed as well."""
    path = Path(entry.path)
    name = path.relative_to(root).as_posix()
    kind = _kind(entry)
    if kind == "folder":
        yield path
    elif kind == "file":
        found.files.append(File(path, name[:-3] if name.lower().endswith(".gz") else name))
    else:
        found.left_out.setdefault(kind, []).append(printable(name))


def _kind(entry: "os.DirEntry[str]") -> str:
    if entry.name.startswith("."):
        return "hidden"
    try:
        mode = entry.stat().st_mode
    except OSError:  # it leads nowhere or to itself; or it has gone meanwhile, and reading it says so
        return "dangling link" if entry.is_symlink() else "file"
    if stat.S_ISDIR(mode):
        return "linked folder" if entry.is_symlink() else "folder"
    return OTHERS.get(stat.S_IFMT(mode), "file")
