"""``memstack check --thorough`` of strangers' plugins: one passes; one that ends its process, or hangs, is reported."""

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
report = check_thoroughly("{}", operations=600, seed=1, only=["operations"], findings=1, patience={})
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
    small = ["--operations", 20, "--seed", 1, "--json", "thorough.json"]
    done = strangers.must("-m", "memstack", "check", "lsh", "--thorough", *small)
    assert "lsh: nothing differs; --seed 1 repeats it" in done.out
    record = ThoroughRecord.read(strangers.work / "thorough.json")
    assert (record.backend, record.seed) == ("lsh", 1)
    assert all(tried.outcome == "pass" for tried in record.tried), record.tried
    assert record.tried[0].done >= 20


@pytest.mark.long
def test_a_process_that_ends_is_a_finding_with_its_history(strangers: Environment) -> None:
    done = strangers.must("-c", TRY.format("crashing", 100))
    assert "the process ended with SIGSEGV" in done.out
    assert "in Select(" in done.out
    again = done.out[done.out.index("from memstack") :].partition("\n)\n")[0] + "\n)\n"
    assert again.count("Reset(") >= 1
    assert strangers.run("-c", again).code < 0


def test_a_process_that_hangs_is_a_finding(strangers: Environment) -> None:
    done = strangers.must("-c", TRY.format("hanging", 6))
    assert "it hangs: nothing for 6 s" in done.out
    assert "in select" in done.out
