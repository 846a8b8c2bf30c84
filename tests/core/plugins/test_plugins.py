"""Strangers' plugins as distributions of their own: installed, found, checked, trained with, removed, gone wrong."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.environment import Environment, Result, write_wheel
from helpers.small_corpus import write_corpus

from memstack.cli import scaffold
from memstack.cli.scaffold import new_backend
from memstack.plugins.registry import registry

PLUGIN = Path(__file__).parents[3] / "examples" / "plugin"
QUICK = ["train.steps=2", "train.segment=32", "train.rows=2", "data.tokenizer=bytes", "data.corpus=corpus"]

RECORD = """
import memstack

@memstack.hookimpl
def memstack_backends():
    return [memstack.BackendSpec(name={!r}, target="no_such_module:Memory", summary="a test"{})]
"""
NEEDS = ', requires=("no_such_library.part",), install="needy[all]"'
WRONG = {  # distribution: its entry point, and its code
    "raising-plugin": ("raising", "raise RuntimeError('no licence\\nfor this machine')"),
    "leaving-plugin": ("leaving", "raise SystemExit(3)"),
    "gone-plugin": ("gone", None),
    "first-twin": ("twin", RECORD.format("twin", "")),
    "second-twin": ("twin", RECORD.format("twin", "")),
    "needy-plugin": ("needy", RECORD.format("needy", NEEDS)),
    "hollow-plugin": ("hollow", RECORD.format("hollow", "")),
    "ending-plugin": ("ending", RECORD.format("ending", "").replace("no_such_module", "leaving_plugin")),
}
TWINS = "backend 'twin' is offered by both plugin 'twin' of first-twin 1.0 and plugin 'twin' of second-twin 1.0"
PROBLEMS = [
    "plugin 'gone' of gone-plugin 1.0 is broken: gone_plugin: ModuleNotFoundError: No module named 'gone_plugin'",
    "plugin 'leaving' of leaving-plugin 1.0 is broken: leaving_plugin: SystemExit: 3",
    "plugin 'raising' of raising-plugin 1.0 is broken: raising_plugin: RuntimeError: no licence for this machine",
    f"{TWINS}; rename or uninstall one of them",
]
USED = {  # backend: what is said when it is used
    "raising": "plugin 'raising' of raising-plugin 1.0 is broken: raising_plugin: RuntimeError: no licence",
    "leaving": "plugin 'leaving' of leaving-plugin 1.0 is broken: leaving_plugin: SystemExit: 3",
    "gone": "plugin 'gone' of gone-plugin 1.0 is broken: gone_plugin: ModuleNotFoundError",
    "twin": TWINS,
    "needy": "backend 'needy' needs no_such_library.part: pip install 'needy[all]'",
    "hollow": "backend 'hollow' cannot be imported from no_such_module:Memory: ModuleNotFoundError",
    "ending": "backend 'ending' cannot be imported from leaving_plugin:Memory: SystemExit: 3",
}
BUNDLED = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]
USE = """
import sys, torch, memstack
shape = memstack.MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=32)
options = {spec.name: spec.test_options for spec in memstack.backends()}
for name in sys.argv[1:]:
    memory = memstack.create_memory(name, shape, **options[name])
    memory.add(torch.eye(4)[None, None], torch.eye(4)[None, None])
    assert memory.search(torch.eye(4)[None, None], 1).mask.all(), name
"""


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with a stranger's plugin, and a copy of its source beside it."""
    environment = Environment(tmp_path_factory.mktemp("stranger"))
    shutil.copytree(PLUGIN, environment.work / PLUGIN.name)
    environment.install(environment.work / PLUGIN.name)
    return environment


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with every plugin that is broken, missing or doubled."""
    environment = Environment(tmp_path_factory.mktemp("wrong"))
    environment.install(*(write_wheel(environment.work, name, *made) for name, made in WRONG.items()))
    return environment


@pytest.fixture(scope="module")
def used(wrong: Environment) -> dict[str, Result]:
    """What ``memstack check`` did for the backends of those plugins."""
    return dict(zip(USED, wrong.memstack(*(["check", name] for name in USED)), strict=True))


def test_a_strangers_backend_is_listed_with_its_distribution(stranger: Environment) -> None:
    listed = stranger.must("-m", "memstack", "backends")
    assert "lsh, lsh-memory 1.2.3" in listed.out
    assert "lsh: sides of random hyperplanes" in listed.out
    assert listed.err == ""


@pytest.mark.long
def test_a_strangers_backend_is_checked_and_measured(stranger: Environment) -> None:
    small = ["--entries", 512, "--dim", 16, "--json", "numbers.json"]
    checked = stranger.must("-m", "memstack", "check", "lsh", *small)
    assert "promises kept, 0 broken" in checked.out
    assert "recall@" in checked.out
    numbers = json.loads((stranger.work / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["measurements"]["failures"] == {}


def test_a_model_is_trained_and_evaluated_with_a_strangers_backend(stranger: Environment) -> None:
    write_corpus(stranger.work / "corpus", documents=2, words=200)
    chosen = [*QUICK, "memory.backend=lsh", "memory.options.bits=16"]
    pairs = [part for pair in chosen for part in ("--set", pair)]
    trained, evaluated = stranger.memstack(["train", "tiny", *pairs, "--out", "run"], ["eval", "run"])
    assert trained.code == 0, trained.err
    assert "trained to step 2" in trained.out
    assert evaluated.code == 0, evaluated.err
    assert "lsh/2048" in evaluated.out


def test_a_strangers_own_tests_pass(stranger: Environment) -> None:
    """Some of them: a thorough check asks more, in ``test_thorough_plugins``."""
    tested = stranger.must("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "recall or ties", PLUGIN.name)
    assert "failed" not in tested.out
    assert "passed" in tested.out


def test_an_uninstalled_backend_is_unknown(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.install(PLUGIN)
    environment.uninstall("lsh-memory")
    listed, asked = environment.memstack(["backends"], ["check", "lsh"])
    assert listed.code == 0
    assert "lsh" not in listed.out + listed.err
    assert asked.code == 2
    assert asked.err.startswith("error: no memory backend is called 'lsh'")
    assert len(asked.err.splitlines()) == 1


def test_a_new_backend_installs_passes_its_check_and_leaves(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    environment.install(new_backend("my-index", tmp_path / "my-index"))
    (checked,) = environment.memstack(["check", "my-index", "--entries", "1100", "-o", scaffold.OPTION])
    assert checked.code == 0, checked.out + checked.err
    assert " 0 broken" in checked.out
    assert "not measured" not in checked.out
    environment.uninstall("memstack-my-index")
    (gone,) = environment.memstack(["check", "my-index"])
    assert gone.code == 2
    assert "no memory backend is called 'my-index'" in gone.err


@pytest.mark.long
def test_a_new_backend_of_one_index_for_all_passes_its_own_tests(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    folder = new_backend("my-index", tmp_path / "my-index", whole_memory=True)
    environment.install(folder)
    tested = environment.must("-m", "pytest", "-q", "-p", "no:cacheprovider", folder)
    assert "passed" in tested.out
    assert "failed" not in tested.out


def test_plugins_gone_wrong_are_one_line_each(wrong: Environment) -> None:
    listed = wrong.must("-m", "memstack", "backends")
    assert listed.err.splitlines() == PROBLEMS
    assert "needy: a test; to install: pip install 'needy[all]'" in listed.out
    assert all(f"{name}: " in listed.out for name in BUNDLED)


def test_plugins_gone_wrong_harm_no_other_backend(wrong: Environment) -> None:
    at_hand = [name for name in BUNDLED if not registry().spec(name).missing()]
    assert "exact" in at_hand
    wrong.must("-c", USE, *at_hand)


@pytest.mark.parametrize("name", USED)
def test_using_a_plugin_gone_wrong_is_one_line(used: dict[str, Result], name: str) -> None:
    result = used[name]
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) == 1
    assert USED[name] in result.err
