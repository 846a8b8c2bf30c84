"""``memstack train``, ``eval`` and ``export``, as a user runs them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import sample_data
from helpers.command_line import QUICK, Run, settings
from helpers.variants import variants
from memstack_models.training import run_folder

from memstack.plugins.registry import registry
from memstack.wrappers.recall_probe import RecallWarning

BUNDLED = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]


@pytest.mark.parametrize("backend", variants(BUNDLED, ["exact", "faiss-ivf", "hnsw"]))
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
    names = {path.name for path in Path("run").iterdir()}
    assert names >= {run_folder.CONFIG, run_folder.LOG, "checkpoint-6", "tokenizer.json"}

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
    assert probed[-1]["recall"] == probed[-1]["attention_mass_recall"] == 0.0
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


def test_short_documents_get_a_notice(memstack: Run, corpus: Path) -> None:
    (corpus / "train" / "short.txt").write_text("short", encoding="utf-8")
    code, out, _ = memstack("train", "tiny", *settings(*QUICK, f"data.corpus={corpus}"), "--out", "run")
    assert code == 0
    assert "1 of 4 documents is shorter than one segment (32 tokens)" in " ".join(out.split())


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
