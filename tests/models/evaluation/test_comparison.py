"""memstack compare: one checkpoint, one text, every backend; and what goes wrong harms no other."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from memstack_models.evaluation.comparison import Comparison, comparison_table, memory_of
from memstack_models.evaluation.records import Compared
from memstack_models.training import run_folder

from memstack import BackendSpec, MemstackError, hookimpl
from memstack.cli import console
from memstack.cli import main as cli
from memstack.plugins.config import MemoryConfig
from memstack.plugins.registry import Registry, registry

READ = ["eval.documents=1", "eval.tokens=1792", "eval.rows=1"]
BUNDLED = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]


class Strangers:
    """Plugins installed with something else: one that is not there, and one that sorts before all others."""

    @hookimpl
    def memstack_backends(self) -> Sequence[BackendSpec]:
        return [
            BackendSpec(name="absent", target="nowhere:Memory", summary="a test", requires=("no_such_library",)),
            BackendSpec(name="aaa", target="nowhere:Memory", summary="a test", exact=True),
        ]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Any]:
    """Run ``memstack compare`` on the shipped checkpoint; exit code, output and the numbers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(console.OUT, "width", 160)

    def run(*arguments: str) -> tuple[int, str, dict[str, Any]]:
        given = [part for pair in READ for part in ("--set", pair)]
        monkeypatch.setattr("sys.argv", ["memstack", "compare", "stdlib-small", *given, *arguments, "--json", "n.json"])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), capsys.readouterr().out, json.loads(Path("n.json").read_text())

    return run


def test_the_shipped_checkpoint_is_as_good_with_every_backend(compare: Callable[..., Any]) -> None:
    """At its default options, where the name is all that changes; and the memory is long enough for an index."""
    specs = map(registry().spec, BUNDLED)
    at_hand = [spec.name for spec in specs if not spec.missing() and not spec.needs_options]
    code, out, numbers = compare("--capacity", "1536")
    memories = numbers["memories"]
    assert code == 0
    assert numbers["failures"] == {}
    assert set(memories) == {"none", *(f"{name}/1536" for name in at_hand)}
    exact = memories["exact/1536"]["perplexity"]
    assert exact < 0.9 * memories["none"]["perplexity"]
    for name in at_hand:
        found = memories[f"{name}/1536"]
        assert found["perplexity"] == pytest.approx(exact, rel=0.02)
        assert found.get("recall", 1.0) > 0.9
        assert all(found["ms"][verb] > 0 for verb in ("search", "add", "worst_add"))
        assert f"{name}/1536 {found['perplexity']:.3f} " in " ".join(out.split())


def test_strangers_plugins_that_cannot_be_used_are_left_out(
    compare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = Registry().discover()
    plugins.register(Strangers(), "strangers")
    for user in ("memstack.plugins.registry", "memstack_models.cli.compare", "memstack_models.evaluation.comparison"):
        monkeypatch.setattr(f"{user}.registry", lambda: plugins)
    code, out, numbers = compare("--capacity", "64")
    assert code == 0
    assert "left out: backend 'absent' needs no_such_library" in out
    assert "left out: backend 'aaa' cannot be imported from nowhere:Memory" in out
    assert "against exact" in out
    assert {"none", "exact/64"} <= set(numbers["memories"])


def test_a_backend_that_fails_is_noted_and_the_others_go_on(
    compare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Comparison.evaluate

    def failing(self: Comparison, memory: MemoryConfig | None, *rest: Any, **more: Any) -> Compared:
        if memory is not None and memory.options:
            raise RuntimeError("the library has failed")
        return evaluate(self, memory, *rest, **more)

    monkeypatch.setattr(Comparison, "evaluate", failing)
    code, out, numbers = compare("--capacity", "64", "-b", "exact,block=64", "-b", "exact")
    assert code == 1
    assert "exact,block=64/64 failed: RuntimeError: the library has failed" in out
    assert numbers["failures"] == {"exact,block=64/64": "RuntimeError: the library has failed"}
    assert set(numbers["memories"]) == {"none", "exact/64"}


def test_options_are_read_and_checked() -> None:
    assert memory_of("exact,block=64", 100, 5) == MemoryConfig(capacity=100, neighbours=5, options={"block": 64})
    with pytest.raises(MemstackError, match="did you mean 'block'"):
        memory_of("exact,blok=64", 100, 5)


def test_a_table_without_its_anchor_has_empty_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path))
    comparison = Comparison(run_folder.find("stdlib-small"), ["eval.documents=1", "eval.tokens=300"])
    without = comparison.evaluate(None)
    table = comparison_table({"none": without}, "exact", {})
    assert [list(column.cells) for column in table.columns] == [
        ["none"],
        [f"{without.perplexity:.3f}"],
        *[[""]] * 6,
    ]
