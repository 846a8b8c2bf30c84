"""What others could have done to an entry of the cache folder."""

import os
from pathlib import Path


def open_to_others(entry: Path) -> None:
    entry.chmod(0o666)


def a_link_elsewhere(entry: Path) -> None:
    entry.rename(entry.parent.parent / "elsewhere")
    entry.symlink_to(entry.parent.parent / "elsewhere")


def a_pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)
