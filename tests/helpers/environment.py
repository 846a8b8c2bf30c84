"""A throw-away environment: distributions are installed into it with pip, offline, and memstack runs there."""

import importlib.metadata
import json
import os
import site
import subprocess
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

# Several command lines in one process, as starting one costs seconds.
DRIVER = """
import contextlib, io, json, sys
from memstack.cli import main as cli

def run(arguments):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["memstack", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()

print(json.dumps([run(arguments) for arguments in json.loads(sys.argv[1])]))
"""


def has_pip() -> bool:
    """Whether this environment has pip. To look for its module would have setuptools give distutils up, for good."""
    return any(importlib.metadata.distributions(name="pip"))


class Result(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


class Environment:
    """A virtual environment that sees what this one has, memstack included, and then what is installed into it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=not has_pip())
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.work = folder / "work"
        self.work.mkdir()
        lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
        paths = {"base": str(folder), "platbase": str(folder)}
        self.packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
        (self.packages / "parent.pth").write_text("\n".join(lines), encoding="utf-8")

    def run(self, *arguments: object) -> Result:
        """Run this environment's Python in its working folder."""
        mine = {"COLUMNS": "200", "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
        line = [str(self.python), *map(str, arguments)]
        done = subprocess.run(line, cwd=self.work, env=inherited | mine, capture_output=True, text=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def must(self, *arguments: object) -> Result:
        """Run this environment's Python; it has to succeed."""
        done = self.run(*arguments)
        assert done.code == 0, done.out + done.err
        return done

    def install(self, *sources: Path) -> None:
        """Install folders or wheels with pip, from what is at hand."""
        self.must("-m", "pip", "install", "-q", "--no-index", "--no-build-isolation", "--no-deps", *sources)

    def uninstall(self, *distributions: str) -> None:
        """Uninstall with pip."""
        self.must("-m", "pip", "uninstall", "-q", "-y", *distributions)

    def memstack(self, *lines: list[str]) -> list[Result]:
        """Run several command lines of memstack in one process."""
        printed = self.must("-c", DRIVER, json.dumps(lines)).out
        return [Result(*result) for result in json.loads(printed)]


def write_wheel(folder: Path, distribution: str, entry: str, code: str | None) -> Path:
    """Write a distribution of version 1.0 whose entry point ``entry`` leads to a module with this code, or to none."""
    package = distribution.replace("-", "_")
    info = f"{package}-1.0.dist-info"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        if code is not None:
            wheel.writestr(f"{package}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[memstack]\n{entry} = {package}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path
