"""``memstack check --thorough`` of strangers' plugins: one passes; one that ends its process, or hangs, is reported."""

import json
from pathlib import Path

import pytest
from helpers.environment import Environment, write_wheel

from memstack.cli.records import ThoroughRecord

PLUGIN = Path(__file__).parents[3] / "examples" / "plugin"
WRONG = """
import memstack, os, signal, time
from memstack_exact.search import ExactMemory

@memstack.hookimpl
def memstack_backends():
    return [memstack.BackendSpec(name={name!r}, target="{name}_plugin:Wrong", summary="a test", exact=True)]

class Wrong(ExactMemory):
    resets = 0

    def reset(self, rows=None):
        super().reset(rows)
        self.resets += 1

    def select(self, rows):
        if self.resets > 1:
            {does}
        super().select(rows)
"""
DOES = {"crashing": "os.kill(os.getpid(), signal.SIGSEGV)", "hanging": "time.sleep(1000)"}
TRY = """
from memstack.testing import check_thoroughly
report = check_thoroughly("hanging", operations=600, seed=1, only=["operations"], patience=3)
print(report)
"""


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with a sound plugin, one that ends the process, and one that hangs."""
    environment = Environment(tmp_path_factory.mktemp("strangers"))
    wheels = [
        write_wheel(environment.work, f"{name}-plugin", name, WRONG.format(name=name, does=does))
        for name, does in DOES.items()
    ]
    environment.install(PLUGIN, *wheels)
    return environment


def test_a_strangers_plugin_passes_the_thorough_check(strangers: Environment) -> None:
    small = ["--operations", 600, "--seed", 1, "--json", "thorough.json"]
    done = strangers.must("-m", "memstack", "check", "lsh", "--thorough", *small)
    assert "lsh: nothing differs; --seed 1 repeats it" in done.out
    record = ThoroughRecord.read(strangers.work / "thorough.json")
    assert (record.backend, record.seed) == ("lsh", 1)
    assert all(tried.outcome == "pass" for tried in record.tried), record.tried
    assert record.tried[0].done >= 600


def test_a_process_that_ends_is_a_finding_with_its_history(strangers: Environment) -> None:
    done = strangers.run("-m", "memstack", "check", "crashing", "--thorough", "--operations", 600, "--seed", 1)
    assert done.code == 1, done.err
    assert "the process ended with SIGSEGV" in done.out
    assert "in Select(" in done.out
    again = done.out[done.out.index("from memstack") :].partition("\n)\n")[0] + "\n)\n"
    assert again.count("Reset(") >= 1
    assert len(again.splitlines()) < 25
    assert strangers.run("-c", again).code < 0


def test_a_process_that_hangs_is_a_finding(strangers: Environment) -> None:
    done = strangers.must("-c", TRY)
    assert "it hangs: nothing for 3 s" in done.out
    assert "in select" in done.out


def test_a_check_that_finds_something_writes_it_down(strangers: Environment) -> None:
    strangers.run("-m", "memstack", "check", "crashing", "--thorough", "--operations", 300, "--json", "found.json")
    record = json.loads((strangers.work / "found.json").read_text(encoding="utf-8"))
    assert record["kind"] == "thorough-check"
    assert any("SIGSEGV" in finding["what"] for tried in record["tried"] for finding in tried["findings"])
