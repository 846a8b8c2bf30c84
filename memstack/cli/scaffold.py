"""``memstack new-backend``: a plugin of one's own, ready to install, that passes the kit before it is changed."""

import importlib.metadata
import importlib.util
import re
import shlex
import tempfile
from pathlib import Path
from string import Template

from memstack.contract.errors import ScaffoldError
from memstack.plugins.registry import registry

TEMPLATE = Path(__file__).parent / "template"
WHOLE = "template_whole"  # what differs from it where one index serves the whole memory
OPTION = "dtype=float16"  # one that every backend has, whatever index is put in
SUFFIX = "-tmpl"  # so that no tool takes the files for Python
# Long enough for any name, and the lines of the files stay within the usual length.
LONGEST = 30


def new_backend(name: str, folder: str | Path, *, whole_memory: bool = False) -> Path:
    """Write a plugin that offers a backend of this name into a new or empty folder; returns the folder.

    It has an index for each row and head or, with ``whole_memory``, one for all of them. Everything is checked before
    anything is written, and the folder appears whole or not at all. Raises ScaffoldError.
    """
    folder = Path(folder)
    package = f"memstack_{name.replace('-', '_')}"
    _check_name(name, package)
    _check_folder(folder)
    # Beside its place, or in it, because only a move within one file system is whole or not at all.
    where = folder if folder.exists() else folder.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".memstack-", dir=where) as staging:
            project = Path(staging, "project")
            _write(project, name, package, whole_memory)
            _publish(project, folder)
    except OSError as error:
        raise ScaffoldError(f"folder {folder} cannot be written ({error.strerror}): name one that can") from None
    return folder


def next_commands(name: str, folder: str | Path) -> tuple[str, ...]:
    """Return the command lines that install the plugin, check it, run its tests and train with it."""
    return (
        f"pip install -e {shlex.quote(f'{folder}[test]')}",
        f"memstack check {name}",
        f"python -m pytest {shlex.quote(str(folder))}",
        f"memstack train tiny --set memory.backend={name}",
    )


def _check_name(name: str, package: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST:
        rule = f"up to {LONGEST} lower-case letters and digits, a letter first, hyphens between them"
        raise ScaffoldError(f"a backend's name should be {rule}, got {name!r}")
    for offer in registry().offers():
        if offer.spec.name == name:
            raise ScaffoldError(f"backend {name!r} exists: {offer.source} offers it; choose another name")
    # A mere folder of that name, as it may lie in the working directory, has no origin.
    if getattr(importlib.util.find_spec(package), "origin", None):
        raise ScaffoldError(f"package {package} is installed already; choose another name than {name!r}")


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ScaffoldError(f"{folder} is no folder")
    if folder.exists() and any(folder.iterdir()):
        raise ScaffoldError(f"folder {folder} is not empty; name a new one")
    if not folder.parent.is_dir():
        raise ScaffoldError(f"there is no folder {folder.parent} to make {folder.name} in")


def _write(project: Path, name: str, package: str, whole_memory: bool) -> None:
    """Fill in the templates; a file of the second takes the place of one of the first."""
    fields = {
        "name": name,
        "package": package,
        "title": "".join(part.capitalize() for part in name.split("-")),
        "option": OPTION,
        "version": importlib.metadata.version("memstack"),
    }
    for template in (TEMPLATE, TEMPLATE.with_name(WHOLE))[: 1 + whole_memory]:
        _fill(template, project, fields)


def _fill(template: Path, project: Path, fields: dict[str, str]) -> None:
    for source in sorted(template.rglob(f"*{SUFFIX}")):
        place = str(source.relative_to(template)).removesuffix(SUFFIX).replace("package_name", fields["package"])
        target = project / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(source.read_text("utf-8")).substitute(fields), encoding="utf-8", newline="\n")


def _publish(project: Path, folder: Path) -> None:
    """Move the project to its place; an empty folder is filled, since it may be the one the user stands in."""
    if not folder.exists():
        project.rename(folder)
        return
    for part in project.iterdir():
        part.rename(folder / part.name)
