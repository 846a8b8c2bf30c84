"""write_whole: a file is there whole or not at all, and an error says which file it was."""

import contextlib
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file aside and rename it, so that it is never there in part; makes the folder it goes to.

    A text is written in UTF-8. An OSError names the file, as a full disk does not.
    """
    encoded = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(encoded)  # a terminal or a pipe has nothing to be renamed over
        else:
            _write_aside(path, encoded)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _write_aside(path: Path, content: bytes) -> None:
    aside = path.with_name(f"{path.name}.writing")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
