"""The READMEs: their code runs, their commands exist, their links lead somewhere."""

import importlib
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from memstack.plugins.hookspecs import PROJECT
from memstack.plugins.registry import Registry, registry
from memstack.testing import check_corpus, check_memory

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("[a-z]*/README.md"))]


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_opens_with_the_two_commands() -> None:
    first = re.findall(r"^    (.+?)\s+#", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first[:2] == ["make demo", "make test"]


def test_the_readmes_code_runs() -> None:
    scope: dict[str, object] = {}
    for block in python_blocks(ROOT / "README.md"):
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["mixed"].shape == (2, 4, 10, 32)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_backend_of_the_guide_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's class and record, put together as it says, pass the kit."""
    search, _, plugin, _ = python_blocks(ROOT / "backends" / "README.md")
    for name, code in {"memstack_sign.search": search, "memstack_sign": plugin}.items():
        module = types.ModuleType(name)
        exec(compile(code, name, "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
    guide = Registry().discover()
    guide.register(sys.modules["memstack_sign"], "sign")
    monkeypatch.setattr("memstack.plugins.registry.registry", lambda: guide)
    spec = guide.spec("sign")
    report = check_memory(
        lambda shape: guide.create("sign", shape, **spec.test_options), exact=spec.exact, recall_floor=spec.recall_floor
    )
    assert not report.failed, str(report)


def test_the_tiered_memory_of_the_guide_keeps_the_contract() -> None:
    scope: dict[str, Any] = {}
    exec(compile(python_blocks(ROOT / "backends" / "README.md")[1], "backends/README.md", "exec"), scope)
    memory = scope["HalfMemory"]
    report = check_memory(lambda shape: memory(shape, memory.Options(exact_below=16)), recall_floor=0.95)
    assert not report.failed, str(report)


def test_every_hook_is_documented_and_used() -> None:
    guide = (ROOT / "backends" / "README.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(sys.modules["memstack.plugins.hookspecs"]) if name.startswith(f"{PROJECT}_")]
    assert sorted(hooks) == ["memstack_backends", "memstack_commands", "memstack_corpora"]
    assert all(f"`{hook}()`" in guide for hook in hooks)
    assert registry().commands()
    assert registry().corpora()


def test_the_corpus_of_the_guide_keeps_its_promises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The guide's class, record and test, put together as it says, in files that another process can import as well."""
    corpus, plugin, test = python_blocks(ROOT / "models" / "README.md")
    package = tmp_path / "memstack_counting"
    package.mkdir()
    (package / "corpus.py").write_text(corpus, encoding="utf-8")
    (package / "__init__.py").write_text(plugin, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    guide = Registry().discover()
    guide.register(importlib.import_module("memstack_counting"), "counting")
    monkeypatch.setattr("memstack.plugins.registry.registry", lambda: guide)
    monkeypatch.setattr("memstack.testing.corpus_contract.registry", lambda: guide)
    scope: dict[str, Any] = {}
    exec(compile(test, "models/README.md", "exec"), scope)
    report = check_corpus(scope["TestCounting"].corpus)
    assert not report.failed, str(report)


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_in_the_text_exist(path: Path) -> None:
    """Each `memstack VERB --option` of the text is one that the command line knows."""
    verbs = "|".join(("backends", "check", "corpora", "new-backend", *(spec.name for spec in registry().commands())))
    lines = re.findall(rf"memstack ({verbs})\b([^\n`]*)", path.read_text(encoding="utf-8"))
    for verb in sorted({verb for verb, _ in lines}):
        shown = subprocess.run(
            [sys.executable, "-m", "memstack", verb, "--help"], capture_output=True, text=True, check=True
        ).stdout
        options = {option for name, rest in lines if name == verb for option in re.findall(r"--[a-z]+", rest)}
        assert all(option in shown for option in options), (verb, options)
