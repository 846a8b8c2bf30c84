"""Metadata of any package of the environment may be damaged in any way: that harms no command and no memory."""

import json
import subprocess
import sys

import pytest
from helpers.environment import Environment, Result, write_wheel

from memstack import UnknownBackendError
from memstack.plugins import distributions
from memstack.plugins.registry import Registry

PLUGIN = """
import memstack

print("hello from {0}")

@memstack.hookimpl
def memstack_backends():
    print("offering {0}")
    return [memstack.BackendSpec(name="{0}", target="{0}_plugin:Memory", summary="a test")]
"""
DAMAGED: dict[str, dict[str, bytes]] = {
    "-oo-1.0.dist-info": {},
    "~ip-24.0.dist-info": {"entry_points.txt": b"[console_scripts]\npip = pip:main\n"},
    "latin-1.0.dist-info": {"METADATA": b"Name: caf\xe9\n", "entry_points.txt": b"\xff\xfe\x00"},
    "folder-1.0.dist-info": {"METADATA/inside": b""},
    "unequal-1.0.dist-info": {
        "METADATA": b"Name: unequal\nVersion: 1.0\n",
        "entry_points.txt": b"[memstack]\nno sign\n",
    },
    "other-1.0.dist-info": {"METADATA": b"", "entry_points.txt": b"[pytest11]\nno sign\n"},
    "nameless-1.0.dist-info": {"entry_points.txt": b"[memstack]\nnameless = nameless_plugin\n"},
    "old.egg-info": {"PKG-INFO": b"\0\0", "entry_points.txt": b"\x80"},
}
CODE = {
    "printing-plugin": ("printing", PLUGIN.format("printing")),
    "untidy-plugin": ("untidy", "class Odd(BaseException):\n    def __str__(self):\n        return 1 / 0\nraise Odd"),
    "unparsed-plugin": ("unparsed", "def ("),
    "nothing-plugin": ("nothing", "import memstack\n@memstack.hookimpl\ndef memstack_backends():\n    return [None]"),
    "hollow-plugin": ("hollow", PLUGIN.format("hollow").replace('name="hollow"', "name=None")),
}
USE = """
import memstack, torch
shape = memstack.MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=32)
for spec in memstack.backends():
    if "memstack_" in spec.target and not spec.missing() and not spec.needs_options:
        memory = memstack.create_memory(spec.name, shape)
        memory.add(torch.eye(4)[None, None], torch.eye(4)[None, None])
        assert memory.search(torch.eye(4)[None, None], 1).mask.all(), spec.name

from memstack.testing import check_memory
assert check_memory("exact", only=["test_any_sequence_of_steps"]).passed  # hypothesis looks for plugins as well
"""


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with every kind of damage, and plugins that fail in every way."""
    environment = Environment(tmp_path_factory.mktemp("damaged"))
    environment.install(*(write_wheel(environment.work, name, *made) for name, made in CODE.items()))
    site = environment.packages
    (site / "nameless_plugin.py").write_text(PLUGIN.format("nameless"), encoding="utf-8")
    for folder, contents in DAMAGED.items():
        (site / folder).mkdir()
        for name, content in contents.items():
            (site / folder / name).parent.mkdir(exist_ok=True)
            (site / folder / name).write_bytes(content)
    return environment


@pytest.fixture(scope="module")
def listed(damaged: Environment) -> Result:
    return damaged.must("-m", "memstack", "backends", "--json", "-")


def test_damaged_metadata_end_no_command(damaged: Environment, listed: Result) -> None:
    assert {"exact", "hnsw", "nameless", "printing"} <= {each["name"] for each in json.loads(listed.out)["backends"]}
    version, helped = (damaged.must("-m", "memstack", option).out for option in ("--version", "--help"))
    assert version.startswith("memstack 0.")
    assert "train" in helped


def test_damaged_metadata_harm_no_memory(damaged: Environment) -> None:
    damaged.must("-c", USE)


def test_a_plugin_that_is_broken_is_named_once(listed: Result) -> None:
    problems: list[str] = json.loads(listed.out)["problems"]
    assert all(problem in listed.err.splitlines() for problem in problems)
    for name in ("untidy", "unparsed", "nothing", "hollow", "unequal"):
        [line] = [problem for problem in problems if name in problem]
        assert f"of {name}" in line
        assert "is broken: " in line
    assert not [problem for problem in problems if "None None" in problem or "other" in problem]


def test_a_plugin_without_metadata_is_no_none(listed: Result) -> None:
    [found] = [each for each in json.loads(listed.out)["backends"] if each["name"] == "nameless"]
    assert found["distribution"].startswith("a distribution without a name in ")


def test_what_plugins_print_is_not_in_the_output(listed: Result) -> None:
    assert "hello" not in listed.out
    assert "hello from printing" in listed.err
    assert "offering printing" in listed.err


def test_where_nothing_is_damaged_the_library_stays_as_it_is() -> None:
    code = "import importlib.metadata as m; f = m.entry_points; import memstack; assert m.entry_points is f"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_finder_that_fails_takes_no_other_down(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_distributions(self, context: object) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert "memstack 0.1.0" in {distributions.described(each) for each in distributions.distributions()}


def test_where_no_plugin_is_found_it_is_said_how_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a frozen program whose metadata was left behind."""
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    with pytest.raises(UnknownBackendError, match=r"\(registered: none\); not even memstack's own") as caught:
        Registry().discover().spec("exact")
    assert "\n" not in str(caught.value)
