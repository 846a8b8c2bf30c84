"""A run whose backend needs a secret: from training to export, no file and no line of output holds it."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from helpers.small_corpus import write_corpus
from helpers.vault import SECRET, SPEC, VARIABLE, installed
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.evaluation import tuning
from memstack_models.evaluation.records import CompareRecord, EvalRecord, TuneRecord
from memstack_models.report import plan as plans
from memstack_models.report.plan import Plan
from memstack_models.report.records import Report
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig

from memstack.cli import main as cli
from memstack.cli.records import CheckRecord
from memstack.plugins.registry import registry
from memstack.testing import runner

PLAN = Plan(entries=32, sizes=(32,), step_sizes=(32,), documents=1, tokens=100, capacity=32, stride=2, repeats=1)
GIVE = ("--set", f"memory.options.api_key={SECRET}")


class CommandLine:
    """Runs command lines in a folder, and remembers all that was printed."""

    def __init__(self) -> None:
        self.printed = ""

    def __call__(self, *arguments: object) -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
            patch.setattr("sys.argv", ["memstack", *map(str, arguments)])
            with pytest.raises(SystemExit) as stopped:
                cli.main()
        self.printed += out.getvalue()
        return int(stopped.value.code or 0), out.getvalue()


@pytest.fixture
def memstack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The command line with the vault installed, beside exact search alone; in a new folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    with installed():
        yield CommandLine()


@pytest.fixture
def trained(memstack: CommandLine, tmp_path: Path) -> tuple[str, ...]:
    """Train six steps into ``run``; returns the settings without the secret."""
    settings = {
        "data.corpus": write_corpus(tmp_path / "corpus", documents=3, words=200),
        "data.tokenizer": "bytes",
        "memory.backend": "my-vault",
        "memory.capacity": 48,
        "train.steps": 6,
        "train.segment": 16,
        "train.rows": 2,
        "train.log_every": 1,
        "train.checkpoint_every": 3,
        "eval.documents": 1,
        "eval.tokens": 100,
    }
    line = tuple(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))
    code, out = memstack("train", "tiny", "--out", "run", *line, *GIVE)
    assert (code, "trained to step 6" in out) == (0, True)
    return line


def files_with_the_secret(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_run_is_resumed_with_the_secret_from_either_place(
    memstack: CommandLine, trained: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = ("train", "tiny", "--out", "run", *trained, "--resume")
    code, out = memstack(*resume)
    assert code == 2
    assert "the secret api_key is missing" in out
    assert VARIABLE in out
    assert memstack(*resume, *GIVE)[0] == 0
    monkeypatch.setenv(VARIABLE, SECRET)
    assert memstack(*resume)[0] == 0
    code, out = memstack(*resume, "--set", "memory.options.effort=5")
    assert code == 2
    assert "holds another run: memory.options.effort is None there and 5 here" in out
    assert len(run_folder.read_log(tmp_path / "run")) == 6
    assert files_with_the_secret(tmp_path) == []
    assert SECRET not in memstack.printed


def test_an_export_needs_no_secret_and_holds_none(
    memstack: CommandLine, trained: tuple[str, ...], tmp_path: Path
) -> None:
    assert memstack("export", "run", "shared")[0] == 0
    code, out = memstack("eval", "shared")
    assert (code, "the secret api_key is missing" in out) == (2, True)
    assert memstack("eval", "shared", *GIVE, "--json", "eval.json")[0] == 0
    assert set(EvalRecord.read(Path("eval.json")).memories) == {"none", "my-vault/48"}
    assert files_with_the_secret(tmp_path) == []
    assert SECRET not in memstack.printed


def test_a_secret_that_was_written_by_hand_is_not_exported(memstack: CommandLine, trained: tuple[str, ...]) -> None:
    config = Path("run", run_folder.CONFIG)
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[memory.options]\n", f'[memory.options]\napi_key = "{SECRET}"\n'), encoding="utf-8")
    assert run_folder.read_config(Path("run")).memory.options["api_key"].get_secret_value() == SECRET
    assert memstack("export", "run", "shared")[0] == 0
    assert files_with_the_secret(Path("shared")) == []


def test_a_run_made_from_code_writes_no_secret(memstack: CommandLine, tmp_path: Path) -> None:
    memory = {"backend": "my-vault", "options": {"api_key": SECRET, "proxy": {"password": SECRET}}}
    run = RunConfig.model_validate({"model": {"preset": "tiny"}, "memory": memory})
    run_folder.create(tmp_path / "made", run, ByteTokenizer())
    assert files_with_the_secret(tmp_path) == []
    assert SECRET not in repr(run_folder.checked(run))


def test_no_record_of_a_comparison_holds_it(
    memstack: CommandLine, trained: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """compare, tune, report and check: what they write, and what they print."""
    for module in (plans, tuning):
        monkeypatch.setattr(module, "installed", lambda: [registry().spec("exact"), SPEC])
    monkeypatch.setattr(plans, "QUICK", PLAN)
    monkeypatch.setattr(runner, "promises", lambda *_: ["test_pairing_one_entry_at_a_time"])
    given = f"my-vault,api_key={SECRET},effort=3"
    assert memstack("compare", "run", "-b", given, "--capacity", 48, *GIVE, "--json", "compare.json")[0] == 0
    kept = CompareRecord.read(Path("compare.json"))
    assert set(kept.memories) == {"none", "my-vault/48", "my-vault,api_key=**********,effort=3/48"}

    monkeypatch.setenv(VARIABLE, SECRET)
    assert memstack("tune", "run", "--entries", 40, "--json", "tune.json")[0] == 0
    assert {trial.backend for trial in TuneRecord.read(Path("tune.json")).trials} == {"exact", "my-vault"}
    code, out = memstack("report", "run", "--quick", "--out", "report")
    assert code == 0, out
    report = Report.read(tmp_path / "report" / "results.json")
    assert {point.backend for point in report.settings} == {"exact", "my-vault"}
    monkeypatch.delenv(VARIABLE)
    assert memstack("check", "my-vault", "-o", f"api_key={SECRET}", "--entries", 64, "--json", "check.json")[0] == 0
    record = CheckRecord.read(Path("check.json"))
    assert record.measurements is not None
    assert record.measurements.options["effort"] == 1
    assert files_with_the_secret(tmp_path) == []
    assert SECRET not in memstack.printed
