"""The pages: their code runs, their commands exist, their links lead somewhere."""

import importlib
import importlib.util
import re
import shlex
import sys
import types
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from memstack_models.training.run_folder import recipe

from memstack.cli.main import app
from memstack.plugins.hookspecs import PROJECT
from memstack.plugins.registry import Registry, registry
from memstack.testing import check_corpus, check_memory

ROOT = Path(__file__).parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *sorted(ROOT.glob("[a-z]*/README.md")), ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
GUIDE = DOCS / "write-a-backend.md"
COMMANDS: Any = typer.main.get_command(app)
VERBS = COMMANDS.list_commands(None)
# What a page promises of its code, by what the code leaves behind.
PROMISED: dict[str, Callable[[dict[str, Any]], bool]] = {
    "README.md": lambda scope: scope["losses"][-1] < scope["losses"][0],
    "docs/quickstart.md": lambda scope: scope["with_memory"] > 0.9 and scope["without"] < 0.4,
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_blocks(path: Path) -> dict[str, Any]:
    """What a reader has after typing every block of a page, in order."""
    scope: dict[str, Any] = {"__name__": "page"}
    for block in python_blocks(path):
        exec(compile(block, name_of(path), "exec"), scope)
    return scope


def test_the_readme_opens_with_the_two_commands() -> None:
    first = re.findall(r"^    (.+?)\s+#", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert first[:2] == ["make demo", "make test"]


def test_the_readme_takes_three_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 600


def test_the_published_description_has_no_link_that_leads_nowhere() -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    text = build.described(README.read_text(encoding="utf-8"))
    assert "docs/quickstart.md" in text
    assert [link for link in re.findall(r"\]\(([^)]+)", text) if "://" not in link] == []


@pytest.mark.parametrize("path", [path for path in PAGES if python_blocks(path)], ids=name_of)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run_blocks(path)
    assert PROMISED.get(name_of(path), bool)(scope)


def test_the_backend_of_the_guide_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's class and record, put together as it says, pass the kit."""
    search, _, _, plugin, *_ = python_blocks(GUIDE)
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


@pytest.mark.long
def test_the_index_per_head_of_the_guide_keeps_the_contract() -> None:
    memory = run_blocks(GUIDE)["HalfMemory"]
    report = check_memory(lambda shape: memory(shape, memory.Options(exact_below=16)), recall_floor=0.95)
    assert not report.failed, str(report)


@pytest.mark.long
def test_the_remote_memory_of_the_guide_keeps_the_contract() -> None:
    report = check_memory(run_blocks(GUIDE)["ServedMemory"])
    assert not report.failed, str(report)


def test_every_hook_is_documented_and_used() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    hooks = [name for name in vars(sys.modules["memstack.plugins.hookspecs"]) if name.startswith(f"{PROJECT}_")]
    assert sorted(hooks) == ["memstack_backends", "memstack_commands", "memstack_corpora"]
    assert all(f"`{hook}()`" in guide for hook in hooks)
    assert registry().commands()
    assert registry().corpora()


def test_the_corpus_of_the_guide_keeps_its_promises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The guide's class, record and test, put together as it says, in files that another process can import as well."""
    corpus, plugin, test = python_blocks(DOCS / "write-a-corpus.md")
    package = tmp_path / "memstack_counting"
    package.mkdir()
    (package / "corpus.py").write_text(corpus, encoding="utf-8")
    (package / "__init__.py").write_text(plugin, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    guide = Registry().discover()
    guide.register(importlib.import_module("memstack_counting"), "counting")
    monkeypatch.setattr("memstack.plugins.registry.registry", lambda: guide)
    monkeypatch.setattr("memstack.testing.corpus_contract.registry", lambda: guide)
    assert 'corpus = "counting"' in test
    report = check_corpus("counting")
    assert not report.failed, str(report)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_in_the_text_exist(path: Path) -> None:
    """Every `folder/file.py` of the text is a file of that name in the repository."""
    named = set(re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|toml|md|cpp))`", path.read_text(encoding="utf-8")))
    own = {name for name in named if name.startswith(("memstack_my_index/", "my-"))}
    places = (ROOT, ROOT / "models" / "memstack_models", ROOT / "benchmarks")
    assert [name for name in sorted(named - own) if not any((place / name).is_file() for place in places)] == []


def command_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each `memstack VERB ...` of a page, in a block or in the text: the verb, and what follows it."""
    verbs = "|".join(VERBS)
    for verb, rest in re.findall(rf"memstack ({verbs})\b([^\n`]*)", path.read_text(encoding="utf-8")):
        yield verb, shlex.split(rest, comments=True)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_and_options_in_the_text_exist(path: Path) -> None:
    """Each `memstack VERB --option` of the text is one that the command line knows."""
    for verb, words in command_lines(path):
        known = {option for parameter in COMMANDS.resolve_command(None, [verb])[1].params for option in parameter.opts}
        used = {word for word in words if re.fullmatch("--?[a-z]+", word)}
        assert used <= known | {"--help", "--debug"}, (verb, words)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_settings_in_the_text_are_keys(path: Path) -> None:
    """Each `--set section.key=value` of the text is one that a recipe accepts."""
    names = {offer.spec.name for offer in registry().offers()}
    for _, words in command_lines(path):
        settings = [setting for option, setting in pairwise(words) if option == "--set"]
        chosen = {setting.partition("=")[2] for setting in settings if setting.startswith("memory.backend=")}
        if settings and chosen <= names:
            assert recipe("stdlib-small", settings)
