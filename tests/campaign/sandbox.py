"""A small world for each case: a corpus, recipes, a run and its exports; and what a command has changed in it."""

import hashlib
import importlib
import os
import pkgutil
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import memstack_models
from helpers.small_checkpoint import write_checkpoint
from helpers.small_corpus import write_corpus

import memstack.cli
import memstack.measure
import memstack.testing
from campaign.forked import Setup, apart
from memstack.plugins.disk_cache import cache_folder
from memstack.plugins.registry import registry

Snapshot = dict[str, str]
CAPS = ("train.steps=2", "train.segment=16", "train.rows=2", "train.log_every=1", "eval.documents=1", "eval.tokens=60")
"""Settings with which a command that is accepted is done at once."""
RECIPE = """\
format = 1

[model]
preset = "tiny"
dim = 16
ffn_dim = 32
cache = 8
dropout = 0.1

[memory]
backend = "exact"
capacity = 48
neighbours = 4

[memory.options]
dtype = "float32"

[data]
corpus = "corpus"
tokenizer = "bytes"
vocab_size = 300

[train]
rows = 2
segment = 16
steps = 2
warmup = 2
log_every = 1
device = "cpu"

[eval]
rows = 2
documents = 1
tokens = 60
"""


class World:
    """The folder that every case gets a copy of."""

    def __init__(self, scratch: Path, place: Path | None = None) -> None:
        self.scratch, self.place = scratch, place or scratch
        self.template, self.cache = scratch / "template", scratch / "cache"
        self.template.mkdir()
        self.cache.mkdir(mode=0o700)
        for compiled in cache_folder().glob("first-pass-*"):
            shutil.copy2(compiled, self.cache)  # compiling it again takes seconds
        os.environ["MEMSTACK_CACHE"] = str(self.cache)
        os.environ["COLUMNS"] = "200"
        preload()
        apart(self._fill, self.template)

    def _fill(self) -> None:
        folder = self.template
        write_checkpoint(folder)
        write_corpus(folder / "other", documents=2, words=60)
        recipe = RECIPE.replace('"corpus"', f'"{folder}/corpus"')  # a path that is the same in every case
        (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
        (folder / "empty").mkdir()
        (folder / "notes.txt").write_text("nothing that memstack knows\n", encoding="utf-8")
        (folder / "wrong.toml").write_text("[model\n", encoding="utf-8")
        (folder / "data.bin").write_bytes(bytes(range(256)))

    @contextmanager
    def case(self) -> Generator[Path]:
        """Yield a copy that is removed afterwards; temporary files go beside it."""
        place = self.place / "case"
        shutil.copytree(self.template, place / "work", symlinks=True)
        (place / "tmp").mkdir()
        try:
            yield place / "work"
        finally:
            shutil.rmtree(place)

    def setup(self, folder: Path) -> Setup:
        """Return what a child does first: its temporary files go beside its folder."""

        def surround() -> None:
            os.environ["TMPDIR"] = str(folder.parent / "tmp")

        return surround


def preload() -> None:
    """Import what commands import, and find the plugins: no child has to, then."""
    for name in ("torch._dynamo", "memstack_exact.search", "memstack_hnsw.index", "memstack_bucketed.search"):
        importlib.import_module(name)
    for package in (memstack.cli, memstack.measure, memstack.testing, memstack_models):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    registry().specs()


def snapshot(folder: Path) -> Snapshot:
    """Return everything below a folder: what it is, and a digest of what it holds."""
    found: Snapshot = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(root, name)
            found[os.fsencode(path.relative_to(folder)).decode(errors="backslashreplace")] = _described(path)
    return found


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what is new, gone or different, a few words each."""
    new = [f"new: {name}" for name in sorted(after.keys() - before.keys())]
    gone = [f"gone: {name}" for name in sorted(before.keys() - after.keys())]
    return new + gone + [f"changed: {name}" for name in sorted(before.keys() & after) if before[name] != after[name]]


def caps() -> list[str]:
    """Return the settings of ``CAPS``, as a command line takes them."""
    return [part for setting in CAPS for part in ("--set", setting)]


def _described(path: Path) -> str:
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "folder" if path.is_dir() else "special"
