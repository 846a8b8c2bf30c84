"""Plugins, specs and options: discovery is lazy, mistakes name their mend, and a broken plugin harms no other."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

import memstack
from memstack.plugins.registry import Registry, registry
from memstack.plugins.specs import import_target

SHAPE = memstack.MemoryShape(rows=1, heads=1, key_dim=2, value_dim=2, capacity=4)
ENTRIES = list(importlib.metadata.entry_points(group="memstack"))
LISTING = """
import sys
import memstack
from memstack.plugins.registry import registry
names = [spec.name for spec in memstack.backends()]
registry().commands()
missing = [spec.missing() for spec in memstack.backends()]
assert "exact" in names and "hnsw" in names, names
heavy = {"faiss", "hnswlib", "scann", "jax", "triton", "transformers", "datasets"} & set(sys.modules)
assert not heavy, heavy
assert not [name for name in sys.modules if name.startswith("memstack_") and name.count(".")], "a backend was imported"
"""


class Plugin:
    """A stranger's plugin with these backends and commands."""

    def __init__(self, *specs: memstack.BackendSpec, commands: Sequence[memstack.CommandSpec] = ()) -> None:
        self.specs, self.verbs = specs, commands

    @memstack.hookimpl
    def memstack_backends(self) -> Sequence[memstack.BackendSpec]:
        return self.specs

    @memstack.hookimpl
    def memstack_commands(self) -> Sequence[memstack.CommandSpec]:
        return self.verbs


class BrokenPlugin:
    @memstack.hookimpl
    def memstack_backends(self) -> Sequence[memstack.BackendSpec]:
        raise RuntimeError("no licence")


class NonsensePlugin:
    @memstack.hookimpl
    def memstack_backends(self) -> Any:
        return ["theirs"]


class YieldingPlugin:
    @memstack.hookimpl
    def memstack_backends(self) -> Any:
        yield spec("yielded")


class HalfPlugin(Plugin):
    """pluggy takes its first hook and refuses its second."""

    @memstack.hookimpl
    def memstack_commands(self, verbose: bool) -> Sequence[memstack.CommandSpec]:  # type: ignore[override]
        raise NotImplementedError


class Options(memstack.IndexedMemory.Options):
    lists: int = 4


class Listed(memstack.IndexedMemory):
    """A memory whose index finds nothing."""

    Options = Options

    def __init__(self, shape: memstack.MemoryShape, options: Any = None) -> None:
        super().__init__(shape, options)
        self.options = options

    def index_add(self, rows: Any, slots: Any, keys: Any) -> None:
        """Nothing is indexed."""

    def index_search(self, queries: Any, k: int) -> Any:
        return queries.new_empty(*queries.shape[:3], 0).long()

    def index_forget(self, rows: Any) -> None:
        """Nothing is indexed."""


def spec(name: str, **fields: Any) -> memstack.BackendSpec:
    return memstack.BackendSpec(name=name, target=f"{__name__}:Listed", summary="a test", **fields)


@pytest.fixture
def plugins() -> Registry:
    found = Registry()
    found.register(Plugin(spec("zebra"), spec("lists")), "first")
    return found


def test_listing_imports_no_search_library() -> None:
    done = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_bundled_backends_come_from_their_entry_points() -> None:
    offers = {offer.spec.name: offer for offer in registry().offers()}
    assert {"exact", "hnsw"} <= offers.keys()
    assert offers["exact"].plugin == "exact"
    assert offers["exact"].distribution.startswith("memstack ")
    assert registry().broken == {}


def test_specs_are_sorted_by_name(plugins: Registry) -> None:
    assert [found.name for found in plugins.specs()] == ["lists", "zebra"]


def test_every_registered_spec_is_complete() -> None:
    for found in memstack.backends():
        assert found.summary
        assert 0 < found.recall_floor <= 1
        assert not found.exact or found.recall_floor == 1
        assert found.install or not found.requires
        assert found.missing() or issubclass(import_target(found.target), memstack.Memory)


def test_a_registered_memory_is_made_with_its_options(plugins: Registry) -> None:
    memory = plugins.create("lists", SHAPE, lists=7, dtype="bfloat16")
    assert isinstance(memory, Listed)
    assert memory.shape == SHAPE
    assert (memory.options.lists, memory.options.dtype) == (7, "bfloat16")


def test_an_unknown_backend_names_the_nearest(plugins: Registry) -> None:
    with pytest.raises(memstack.UnknownBackendError) as caught:
        plugins.create("list", SHAPE)
    message = str(caught.value)
    assert "no memory backend is called 'list'; did you mean 'lists'?" in message
    assert "registered: lists, zebra" in message


def test_two_plugins_with_one_name_are_both_named(plugins: Registry) -> None:
    plugins.register(Plugin(spec("lists")), "second")
    with pytest.raises(
        memstack.DuplicateBackendError, match="'lists' is offered by both plugin 'first' and plugin 'second'"
    ):
        plugins.spec("lists")
    assert plugins.spec("zebra").name == "zebra"


@pytest.mark.parametrize(("install", "wanted"), [("mine[fast]", "mine[fast]"), ("", "no_such_library")])
def test_a_missing_library_names_the_pip_line(plugins: Registry, install: str, wanted: str) -> None:
    plugins.register(Plugin(spec("absent", requires=("torch", "no_such_library"), install=install)), "third")
    assert plugins.spec("absent").missing() == ("no_such_library",)
    with pytest.raises(memstack.BackendUnavailableError) as caught:
        plugins.create("absent", SHAPE)
    assert str(caught.value) == f"backend 'absent' needs no_such_library: pip install '{wanted}'"


def test_a_broken_plugin_harms_no_other_and_is_named(plugins: Registry) -> None:
    plugins.register(BrokenPlugin(), "broken")
    assert [found.name for found in plugins.specs()] == ["lists", "zebra"]
    assert plugins.broken == {"broken": "memstack_backends: RuntimeError: no licence"}
    with pytest.raises(memstack.UnknownBackendError, match=r"plugin 'broken' is broken: .*no licence"):
        plugins.spec("theirs")


def test_a_plugin_that_returns_nonsense_harms_no_other(plugins: Registry) -> None:
    plugins.register(NonsensePlugin(), "nonsense")
    assert [found.name for found in plugins.specs()] == ["lists", "zebra"]
    assert plugins.broken == {"nonsense": "memstack_backends: TypeError: it should return BackendSpecs, got 'theirs'"}


def test_a_plugin_may_yield_its_backends(plugins: Registry) -> None:
    plugins.register(YieldingPlugin(), "yielding")
    assert [found.name for found in plugins.specs()] == ["lists", "yielded", "zebra"]


def test_a_command_that_two_plugins_offer_is_a_problem_that_names_both(plugins: Registry) -> None:
    verb = memstack.CommandSpec(name="train", target="no_such_module:run", summary="")
    for name in ("second", "third"):
        plugins.register(Plugin(commands=[verb]), name)
    (line,) = plugins.problems()
    assert line.startswith("command 'train' is offered by both plugin 'second' and plugin 'third'")


def test_a_plugin_that_pluggy_refuses_half_way_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    half = FakeEntry("half", "half")
    monkeypatch.setattr(half, "load", lambda: HalfPlugin(spec("theirs")))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [*ENTRIES, half])
    found = Registry().discover()
    assert {"exact", "hnsw"} <= {each.name for each in found.specs()}
    assert "verbose" in found.broken["half"]


def test_a_plugin_that_cannot_be_imported_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = FakeEntry("gone", "no_such_plugin")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [*ENTRIES, gone])
    found = Registry().discover()
    assert {"exact", "hnsw"} <= {each.name for each in found.specs()}
    assert found.broken == {"gone": "no_such_plugin: ModuleNotFoundError: No module named 'no_such_plugin'"}


def test_an_unknown_option_names_the_nearest(plugins: Registry) -> None:
    with pytest.raises(memstack.OptionsError) as caught:
        plugins.create("lists", SHAPE, list=3)
    message = str(caught.value)
    assert message.startswith("backend 'lists': list is not a known key; did you mean 'lists'?")
    assert "dtype" in message


def test_an_options_bad_value_is_named_with_what_came(plugins: Registry) -> None:
    with pytest.raises(memstack.OptionsError, match=r"backend 'lists': lists: .*got 'many'"):
        plugins.create("lists", SHAPE, lists="many")


def test_commands_are_sorted_and_imported_only_when_run(plugins: Registry) -> None:
    verbs = [memstack.CommandSpec(name=name, target="no_such_module:run", summary="") for name in ("train", "eval")]
    plugins.register(Plugin(commands=verbs), "verbs")
    assert [found.name for found in plugins.commands()] == ["eval", "train"]


def test_create_memory_makes_a_bundled_backend() -> None:
    memory = memstack.create_memory("exact", SHAPE)
    assert isinstance(memory, memstack.Memory)
    assert memory.lengths.tolist() == [0]


class FakeEntry:
    """An entry point of a distribution that is half uninstalled."""

    dist = None

    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value

    def load(self) -> Any:
        return __import__(self.value)
