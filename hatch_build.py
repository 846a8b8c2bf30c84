"""The published package: its description, and wheels that hold exact search's compiled loop.

The description is the README, whose links into the repository lead nowhere from there. A wheel holds compiled code only
where ``MEMSTACK_KERNELS=1`` asks for it: what is built otherwise is for any system, and compiles at its first use.
"""

import importlib.util
import os
import re
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "MEMSTACK_KERNELS"
LOOP = "backends/memstack_exact/cpu"


class DescriptionHook(MetadataHookInterface):
    """Fills in ``project.readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Take the README, its links into the repository written as the paths that they lead to."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": described(text)}


class KernelHook(BuildHookInterface[Any]):
    """Compiles the variants of exact search's loop into a wheel, which is for this system's processors alone."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them to what the wheel holds, unless nobody asked."""
        if version != "standard" or os.environ.get(VARIABLE, "0") in ("", "0"):
            return
        self.folder = tempfile.TemporaryDirectory()
        made = compiled(Path(self.root, LOOP), Path(self.folder.name))
        build_data["force_include"].update({str(path): f"memstack_exact/cpu/built/{path.name}" for path in made})
        build_data["pure_python"] = False
        system = re.sub(r"[-.]", "_", sysconfig.get_platform())
        build_data["tag"] = f"py3-none-{system}"  # called through C: one for every Python

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Drop what was compiled, which the wheel now holds."""
        if folder := getattr(self, "folder", None):
            folder.cleanup()


def described(text: str) -> str:
    """Replace each relative link of a page by its words and its path; absolute ones stay."""
    return re.sub(r"\[([^\]]+)\]\((?!\w+:)([^)]+)\)", r"\1 (`\2`)", text)


def compiled(loop: Path, folder: Path) -> list[Path]:
    """Compile all variants for this kind of processor, and what tells which of them one runs; return their files."""
    compiler, variants = _module(loop / "compiler.py"), _module(loop / "variants.py")
    command = compiler.find()
    if command is None:
        raise OSError(f"{VARIABLE} is set and there is no C++ compiler: install g++ or clang, or name one in CXX")
    sources = {path.name: path.read_bytes() for path in sorted((loop / "native").iterdir())}
    made: list[Path] = []
    for library in (variants.PROCESSOR, *variants.MACHINES[variants.machine()]):
        made.append(folder / variants.shipped_name(library, compiler.digest(*variants.recipe(library, sources))))
        main = str(loop / "native" / variants.main_source(library))
        compiler.run([*command, *variants.options(library), "-o", str(made[-1]), main], folder)
    return made


def _module(path: Path) -> ModuleType:
    """A file of the package, which cannot be imported where torch is not."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
