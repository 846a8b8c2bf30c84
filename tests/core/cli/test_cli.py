"""The command line, as a user meets it: what it prints, what it writes, and one line for every mistake."""

import json
import shutil
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import sample_data
from helpers.small_corpus import write_corpus
from memstack_models.training import checkpoint, run_folder

from memstack import BackendSpec, CommandSpec, Memory, hookimpl
from memstack.cli import check as checking
from memstack.cli import main as cli
from memstack.measure import KEY_SETS, Measurement
from memstack.plugins.registry import Registry, registry
from memstack.testing import runner
from memstack.wrappers.recall_probe import RecallWarning

Run = Callable[..., tuple[int, str, str]]
BUNDLED = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]
QUICK = ["train.steps=4", "train.segment=32", "train.rows=2", "data.tokenizer=bytes", "train.log_every=1"]
SMALL = ["--entries", "64", "--dim", "8"]


class Plugin:
    """A stranger's plugin that offers whatever it was given."""

    def __init__(self, *offered: Any) -> None:
        self.offered = offered

    @hookimpl
    def memstack_backends(self) -> Sequence[Any]:
        return self.offered


class Verbs:
    """A plugin with a command that another one has as well."""

    @hookimpl
    def memstack_commands(self) -> Sequence[CommandSpec]:
        return [CommandSpec(name="twice", target="nowhere:run", summary="a test")]


@pytest.fixture
def memstack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in an empty folder; its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cli.OUT, "width", 120)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["memstack", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", documents=3, words=300)


def settings(*pairs: str) -> list[str]:
    return [part for pair in pairs for part in ("--set", pair)]


def listed(printed: str, name: str) -> str:
    """The line of a table that begins with this name, with one space between words."""
    return next(" ".join(line.split()) for line in printed.splitlines() if line.startswith(f"{name} "))


def version_of(distribution: str) -> str:
    return f"{distribution} {metadata.version(distribution)}"


def test_backends_are_listed_with_what_they_can_do(memstack: Run) -> None:
    code, out, _ = memstack("backends")
    assert code == 0
    memstack_itself = version_of("memstack")
    assert listed(out, "exact") == f"exact exact no cpu cuda mps xpu none needed exact, {memstack_itself}"
    assert listed(out, "hnsw") == f"hnsw approximate no cpu {version_of('hnswlib')} hnsw, {memstack_itself}"


def test_a_listing_says_what_must_be_trained_and_who_brings_the_library(
    memstack: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is known by its distribution, not by its import name."""
    spec = BackendSpec(name="trees", target="t:T", summary="", needs_training=True, requires=("_pytest", "pluggy"))
    plugins = Registry()
    plugins.register(Plugin(spec), "forest", "woods 2.1")
    monkeypatch.setattr(cli, "registry", lambda: plugins)
    _, out, _ = memstack("backends")
    libraries = f"{version_of('pytest')}, {version_of('pluggy')}"
    assert listed(out, "trees") == f"trees approximate yes cpu {libraries} forest, woods 2.1"


def test_a_listing_tells_what_is_wrong_with_plugins_and_goes_on(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on stderr for a plugin that cannot say what it offers, one for a name that two plugins offer."""
    spec = BackendSpec(name="trees", target="t:T", summary="finds")
    plugins = Registry()
    plugins.register(Plugin(spec), "forest", "woods 2.1")
    plugins.register(Plugin(spec), "orchard", "apples 3.0")
    plugins.register(Plugin("no spec"), "desert", "sand 0.1")
    monkeypatch.setattr(cli, "registry", lambda: plugins)
    code, out, err = memstack("backends")
    assert code == 0
    assert "forest, woods 2.1" in out
    assert "orchard, apples 3.0" in out
    broken, twice = err.splitlines()
    assert "desert" in broken
    assert all(word in twice for word in ("'trees'", "forest", "orchard"))


def test_help_names_every_command(memstack: Run) -> None:
    code, out, _ = memstack("--help")
    assert code == 0
    assert all(name in out for name in ("backends", "check", "train", "eval", "export", "demo"))


def test_a_command_of_two_plugins_harms_no_other(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = Registry().discover()
    for name in ("first", "second"):
        plugins.register(Verbs(), name)
    monkeypatch.setattr(cli, "registry", lambda: plugins)
    code, out, _ = memstack("--help")
    assert code == 0
    assert all(name in out for name in ("backends", "train", "twice"))
    code, _, err = memstack("twice")
    assert (code, "command 'twice' is offered by both plugin 'first' and plugin 'second'" in err) == (2, True)


@pytest.fixture
def two_promises(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kit itself is tested elsewhere; here only the report of two of its promises."""
    chosen = runner.promises()[:2]
    monkeypatch.setattr(runner, "promises", lambda: chosen)
    return chosen


def test_check_reports_each_promise(memstack: Run, two_promises: list[str]) -> None:
    code, out, err = memstack("check", "exact", "--quick")
    assert (code, err) == (0, "")
    assert out.count(" pass ") == len(two_promises) == 2
    assert "exact: 2 of 2 promises kept, 0 broken" in out
    assert "recall" not in out


def test_check_measures_every_key_set(memstack: Run, two_promises: list[str]) -> None:
    code, out, _ = memstack("check", "exact", *SMALL)
    assert code == 0
    assert all(listed(out, name).split()[1:3] == ["1.000", "1.000"] for name in KEY_SETS)
    assert "2 rows x 2 heads of 64 entries, 8 dimensions" in out


def test_check_writes_the_raw_numbers(memstack: Run, two_promises: list[str]) -> None:
    assert memstack("check", "exact", *SMALL, "--json", "new/numbers.json")[0] == 0
    numbers = json.loads(Path("new/numbers.json").read_text())
    assert (numbers["backend"], numbers["libraries"]) == ("exact", [])
    assert [result["name"] for result in numbers["promises"]["results"]] == two_promises
    measured = numbers["measurements"]
    assert measured["shape"] == {"rows": 2, "heads": 2, "key_dim": 8, "value_dim": 8, "capacity": 64}
    assert [result["key_set"] for result in measured["results"]] == list(KEY_SETS)
    for result in measured["results"]:
        assert result["recall"] == 1.0
        timings = [*result["search"].values(), result["fill"], result["add"], result["reset"]]
        assert all(second > 0 for timing in timings for second in timing["seconds"])


def test_check_adds_options_to_the_test_options_and_to_the_default_ones(memstack: Run, two_promises: list[str]) -> None:
    """The promises keep the small options that make them test something; the measurements are of real use."""
    code, out, _ = memstack("check", "hnsw", "-o", "m=12", *SMALL, "--json", "numbers.json")
    assert code == 0
    numbers = json.loads(Path("numbers.json").read_text())
    small, real = registry().spec("hnsw").test_options, registry().options("hnsw", {})
    assert numbers["promises"]["options"] == {**small, "m": 12}
    assert numbers["measurements"]["options"] == {**real.model_dump(), "m": 12}
    assert f"tested with {', '.join(f'{name}={value}' for name, value in {**small, 'm': 12}.items())}" in out
    assert "measured with its default options and m=12" in out


def test_a_broken_promise_fails_the_check(
    memstack: Run, two_promises: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = runner.PromiseResult("test_it", "It is so.", "fail", "it is [not]", 0.1)
    monkeypatch.setattr(runner, "check_memory", lambda *_, **__: runner.Report((broken,)))
    code, out, _ = memstack("check", "exact", *SMALL, "--json", "numbers.json")
    assert code == 1
    assert "fail: It is so. it is [not]" in out
    assert "exact: 0 of 2 promises kept, 2 broken" in out
    assert Path("numbers.json").exists()


def test_what_cannot_be_measured_is_said_and_fails_nothing(
    memstack: Run, two_promises: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checking.measure_memory

    def fragile(memory: Memory, key_set: str) -> Measurement:
        if key_set == "repeating":
            raise RuntimeError("I have seen this key before")
        return real(memory, key_set)

    monkeypatch.setattr(checking, "measure_memory", fragile)
    code, out, _ = memstack("check", "exact", *SMALL, "--json", "numbers.json")
    assert code == 0
    assert listed(out, "drifting")
    assert "not measured: repeating: RuntimeError: I have seen this key before" in out
    failures = json.loads(Path("numbers.json").read_text())["measurements"]["failures"]
    assert failures == {"repeating": "RuntimeError: I have seen this key before"}


@pytest.mark.parametrize("backend", BUNDLED)
def test_train_evaluate_and_export(memstack: Run, corpus: Path, backend: str) -> None:
    """The whole path, with options so small that an index is built, and built again as the ring goes round."""
    if missing := registry().spec(backend).missing():
        pytest.skip(f"{backend} needs {', '.join(missing)}")
    options = [f"memory.options.{name}={value}" for name, value in registry().spec(backend).test_options.items()]
    memory = [f"memory.backend={backend}", "memory.capacity=96", *options]
    chosen = settings(*QUICK, f"data.corpus={corpus}", *memory, "train.validate_every=2", "train.steps=6")
    code, out, _ = memstack("train", "tiny", *chosen, "--out", "run")
    assert code == 0
    assert "trained to step 6" in out
    assert "validation perplexity" in out
    assert {path.name for path in Path("run").iterdir()} >= {
        run_folder.CONFIG,
        run_folder.LOG,
        checkpoint.FILE,
        "tokenizer.json",
    }

    code, out, _ = memstack("eval", "run", "--json", "numbers.json")
    assert code == 0
    assert f"{backend}/96" in out
    numbers = json.loads(Path("numbers.json").read_text())["memories"]
    assert set(numbers) == {"none", f"{backend}/96"}
    assert all(value["perplexity"] > 1 and value["tokens"] > 0 for value in numbers.values())

    assert memstack("export", "run", "shared")[0] == 0
    other = settings("memory.backend=exact", "memory.capacity=64", "memory.options={}")
    code, out, _ = memstack("eval", "shared", *other)
    assert code == 0
    assert "exact/64" in out


def test_training_watches_the_recall_of_an_approximate_backend(memstack: Run, corpus: Path) -> None:
    """As ``[memory.probe]`` says: how often, what is too little, and what then."""
    index = ["backend=hnsw", "capacity=96", "options.exact_below=16", "options.overlap=true"]
    probe = ["probe.every=2", "probe.sampled=3", "probe.floor=1.0", "probe.below=fallback"]
    memory = [f"memory.{pair}" for pair in (*index, *probe)]
    chosen = settings(*QUICK, f"data.corpus={corpus}", *memory, "train.steps=8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memstack_hnsw.index.HNSWIndex.search", lambda index, queries, k: nothing_found(queries))
        with pytest.warns(RecallWarning, match="searching exactly until it recovers"):
            assert memstack("train", "tiny", *chosen, "--out", "run")[0] == 0
    entries = [json.loads(line) for line in Path("run", run_folder.LOG).read_text(encoding="utf-8").splitlines()]
    probed = [entry for entry in entries if "recall" in entry]
    assert 0 < len(probed) < len(entries)
    assert probed[-1]["recall"] == probed[-1]["attention-mass recall"] == 0.0
    assert all("age" in entry for entry in probed)


def nothing_found(queries: Any) -> Any:
    return np.empty((len(queries), 0), dtype=np.int64)


@pytest.mark.parametrize("kind", sample_data.KINDS)
def test_real_documents_train_and_evaluate(memstack: Run, tmp_path: Path, kind: str) -> None:
    """Real long documents go through the same commands, as they lie there: gzipped text in split folders."""
    source = sample_data.SAMPLE
    for split in ("train", "validation", "test"):
        (tmp_path / kind / split).mkdir(parents=True)
        for path in sorted((source / kind / split).iterdir(), key=lambda path: path.stat().st_size)[:2]:
            shutil.copy(path, tmp_path / kind / split)
    chosen = settings(*QUICK, f"data.corpus={tmp_path / kind}", "eval.tokens=512")
    assert memstack("train", "tiny", *chosen, "--out", "run")[0] == 0
    code, out, _ = memstack("eval", "run", "--data", tmp_path / kind)
    assert code == 0
    assert "bits/byte" in out


def test_resume_continues_and_refuses_another_run(memstack: Run, corpus: Path) -> None:
    chosen = settings(*QUICK, f"data.corpus={corpus}")
    assert memstack("train", "tiny", *chosen, "--out", "run", "--resume")[0] == 0
    before = Path("run", run_folder.LOG).read_bytes()
    code, _, err = memstack("train", "tiny", *chosen, "--out", "run")
    assert (code, "already holds a run: continue it with --resume" in err) == (2, True)
    code, _, err = memstack("train", "tiny", *chosen, "--set", "train.seed=5", "--out", "run", "--resume")
    assert (code, "run holds another run: train.seed is 0 there and 5 here" in err) == (2, True)
    harmless = settings("memory.probe.every=7", "memory.options.overlap=true")
    assert memstack("train", "tiny", *chosen, *harmless, "--out", "run", "--resume")[0] == 0
    assert Path("run", run_folder.LOG).read_bytes() == before
    other = settings("memory.probe.below=fallback")
    code, _, err = memstack("train", "tiny", *chosen, *other, "--out", "run", "--resume")
    assert (code, "memory.probe.below is 'warn' there and 'fallback' here" in err) == (2, True)


def test_a_model_without_a_memory_has_nothing_to_compare(memstack: Run, corpus: Path) -> None:
    chosen = settings(*QUICK, f"data.corpus={corpus}", "model.memory_layers=[]")
    assert memstack("train", "tiny", *chosen, "--out", "run")[0] == 0
    code, _, err = memstack("compare", "run")
    assert (code, "run has no memory layer" in err, len(err.splitlines())) == (2, True, 1)


def test_short_documents_get_a_notice(memstack: Run, corpus: Path) -> None:
    (corpus / "train" / "short.txt").write_text("short", encoding="utf-8")
    code, out, _ = memstack("train", "tiny", *settings(*QUICK, f"data.corpus={corpus}"), "--out", "run")
    assert code == 0
    assert "1 of 4 documents is shorter than one segment (32 tokens)" in " ".join(out.split())


def break_corpus(corpus: Path, how: str) -> None:
    if how == "empty":
        shutil.rmtree(corpus / "train")
        (corpus / "train").mkdir()
    elif how == "no split":
        shutil.rmtree(corpus / "train")
    elif how == "no validation":
        shutil.rmtree(corpus / "validation")
    elif how == "not utf-8":
        (corpus / "train" / "latin.txt").write_bytes(b"caf\xe9")


@pytest.mark.parametrize(
    ("how", "overrides", "message"),
    [
        ("empty", [], "holds no documents"),
        ("no split", [], "has no folder train/"),
        ("not utf-8", [], "latin.txt"),
        ("", ["memory.backend=exakt"], "no memory backend is called 'exakt'; did you mean 'exact'"),
        ("", ["memory.capacty=3"], "memory.capacty is not a known key; did you mean 'capacity'"),
        ("", ["memory.capacity=0"], "memory.capacity"),
        ("", ["memory.neighbours=0"], "memory.neighbours"),
        ("", ["memory.options.blok=3"], "blok is not a known key; did you mean 'block'"),
        ("", ["data.corpus=nowhere"], "corpus 'nowhere' is no folder"),
        ("", ["model.preset=tinny"], "model.preset"),
        ("", ["model=tiny"], "model: "),
        ("", ["train.device=gpu"], "train.device 'gpu' cannot be used here"),
        ("", ["memory.options.device=gpu"], "device 'gpu' cannot be used here"),
        ("", ["memory.capacity=1000000000000000"], "(more than there is): lower capacity"),
        ("", ["train.accumulation=2", "train.rows=8", "data.corpus=one"], "accumulation 2 needs at least 2"),
        ("no validation", ["train.validate_every=2"], "has no folder validation/"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    memstack: Run, corpus: Path, how: str, overrides: list[str], message: str
) -> None:
    break_corpus(corpus, how)
    Path("one").mkdir()
    Path("one/only.txt").write_text("a single document, " * 20)
    code, _, err = memstack("train", "tiny", *settings(*QUICK, f"data.corpus={corpus}", *overrides), "--out", "run")
    assert code == 2
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert message in err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing"], "there is no recipe or file nothing; bundled recipes: paper-200m, stdlib-small, tiny"),
        (["eval", "nothing"], "there is no run in nothing"),
        (["export", "nothing", "x"], "there is no run in nothing"),
        (["check", "exact", "-o", "blok=1"], "blok is not a known key; did you mean 'block'"),
        (["check", "hnws"], "did you mean 'hnsw'"),
        (["check", "exact", "--json", "."], "--json . is a folder; name a file"),
    ],
)
def test_other_mistakes_are_one_line(memstack: Run, arguments: list[str], message: str) -> None:
    code, _, err = memstack(*arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_a_damaged_checkpoint_is_one_line(memstack: Run, corpus: Path, damage: str) -> None:
    assert memstack("train", "tiny", *settings(*QUICK, f"data.corpus={corpus}"), "--out", "run")[0] == 0
    path = Path("run", checkpoint.FILE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    code, _, err = memstack("eval", "run")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert checkpoint.FILE in err


def test_a_missing_librarys_pip_line_is_printed_whole(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra's name stands in brackets, which a formatter of text might take for its own."""
    monkeypatch.setattr("memstack.BackendSpec.missing", lambda self: self.requires)
    _, out, _ = memstack("backends")
    assert "to install: pip install 'memstack[hnsw]'" in out
    assert "hnswlib is missing" in listed(out, "hnsw")


def test_data_is_a_folder_whatever_its_name(memstack: Run, corpus: Path) -> None:
    shutil.move(corpus, "2024")
    assert memstack("train", "tiny", *settings(*QUICK, "data.corpus='2024'"), "--out", "run")[0] == 0
    assert memstack("eval", "run", "--data", "2024")[0] == 0


def test_a_run_finds_its_corpus_from_another_folder(
    memstack: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memstack("train", "tiny", *settings(*QUICK, "data.corpus=corpus"), "--out", "run")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert memstack("eval", "../run")[0] == 0


def test_eval_reads_the_longest_documents(memstack: Run, corpus: Path) -> None:
    """Chosen before they are cut to the limit, which would make them all equal."""
    for i, name in enumerate(("a", "b", "c")):
        (corpus / "test" / f"{name}.txt").write_text(f"{name} " * (400 * (i + 1)), encoding="utf-8")
    assert memstack("train", "tiny", *settings(*QUICK, f"data.corpus={corpus}"), "--out", "run")[0] == 0
    Path("only").mkdir()
    shutil.copy(corpus / "test" / "c.txt", "only")
    perplexities = []
    for source, documents in ((corpus, 1), ("only", 0)):
        limits = settings("eval.tokens=300", f"eval.documents={documents}")
        assert memstack("eval", "run", "--data", source, "--json", "out.json", *limits)[0] == 0
        perplexities.append(json.loads(Path("out.json").read_text())["memories"]["none"]["perplexity"])
    assert perplexities[0] == perplexities[1]


@pytest.mark.parametrize("place", [1, 3])
def test_debug_shows_the_traceback(memstack: Run, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    line = ["memstack", "eval", "nothing"]
    line.insert(place, "--debug")
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(Exception, match="there is no run in nothing"):
        cli.main()
