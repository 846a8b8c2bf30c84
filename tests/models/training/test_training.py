"""The training step, and that a killed run resumes with the losses of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers.small_corpus import write_corpus
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig, TrainConfig
from memstack_models.training.errors import DivergedError, RunFolderError
from memstack_models.training.optimizers import learning_rate
from memstack_models.training.records import LogEntry, StepEntry, ValidationEntry
from memstack_models.training.trainer import Trainer
from memstack_models.transformer.transformer import Transformer
from pydantic import ValidationError
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd.graph import saved_tensors_hooks

from memstack import Memory
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack.plugins.registry import registry

TINY = {
    "model": {"preset": "tiny", "dim": 16, "ffn_dim": 32, "cache": 8, "dropout": 0.1},
    "memory": {"capacity": 48, "neighbours": 4},
    "train": {"rows": 4, "segment": 16, "steps": 12, "log_every": 1, "checkpoint_every": 4, "warmup": 2},
}


def config(**train: object) -> RunConfig:
    return RunConfig.model_validate(TINY | {"train": TINY["train"] | train})


def documents(count: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = (torch.randint(256, (40 + 23 * i,), generator=generator) for i in range(count))
    return [torch.cat([torch.tensor([256]), text]) for text in tokens]


def trainer(folder: Path, run: RunConfig) -> Trainer:
    tokenizer = ByteTokenizer()
    if not run_folder.is_begun(folder):
        run_folder.create(folder, run, tokenizer)
    return Trainer(run, folder, tokenizer.vocab_size, documents(), documents(2), tokenizer.token_bytes)


def losses(folder: Path) -> list[float]:
    lines = (folder / run_folder.LOG).read_text(encoding="utf-8").splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


class KilledError(Exception):
    """Raised in the middle of a run."""


def train_until(trainer: Trainer, step: int) -> None:
    def report(entry: LogEntry) -> None:
        if entry.step == step:
            raise KilledError

    with pytest.raises(KilledError):
        trainer.train(report)


RSQRT = {"schedule": "rsqrt", "learning_rate": 0.1}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "adafactor"} | RSQRT, {"precision": "bfloat16"}], ids=["adamw", "adafactor", "bf16"]
)
def test_a_resumed_run_is_the_uninterrupted_run(tmp_path: Path, settings: dict[str, object], accumulation: int) -> None:
    """Losses and final weights agree to the bit, with dropout, cache, memory and readers in mid-document."""
    run = config(accumulation=accumulation, **settings)
    whole = trainer(tmp_path / "whole", run)
    whole.train()

    train_until(trainer(tmp_path / "cut", run), step=7)  # its last checkpoint is of step 4
    torch.manual_seed(999)
    second = trainer(tmp_path / "cut", run)
    second.resume()
    assert second.step == 4
    second.train()
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


def test_an_approximate_index_resumes_with_nearly_the_same_losses(tmp_path: Path) -> None:
    """Its graph is built again from the same data, and may find other neighbours here and there."""
    run = config().model_copy(update={"memory": MemoryConfig(backend="hnsw", capacity=48, neighbours=4)})
    trainer(tmp_path / "whole", run).train()
    train_until(trainer(tmp_path / "cut", run), step=7)
    second = trainer(tmp_path / "cut", run)
    second.resume()
    second.train()
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), abs=0.05)


@pytest.mark.parametrize(
    "written", [[], ["tokenizer.json"], ["tokenizer.json", "tokenizer.sha256"], ["config.toml.writing"]]
)
def test_a_run_killed_while_its_folder_is_made_can_be_started_again(tmp_path: Path, written: list[str]) -> None:
    for name in written:
        (tmp_path / name).write_text("cut of")
    assert not run_folder.is_begun(tmp_path)
    trainer(tmp_path, config()).train()
    assert len(losses(tmp_path)) == 12


def test_a_diverged_run_says_so(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", config())
    with torch.no_grad():
        run.model.norm.weight.fill_(torch.inf)
    with pytest.raises(DivergedError, match=r"training diverged at step 1 .*lower train\.learning_rate"):
        run.advance()


def memories(run: Trainer) -> list[Memory]:
    """Those of the first part of a step, by layer."""
    return [*run.streams[0].bank.values()]


def test_the_memory_is_written_once_per_step_after_backward(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", config())
    run.advance()
    assert memories(run)[0].lengths.tolist() == [16] * 4
    run.advance()
    assert memories(run)[0].lengths.tolist() == [32] * 4


INSTALLED = [spec.name for spec in registry().specs() if not spec.missing()]


def calls(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what a memory is asked from now on."""
    counted: Counter[str] = Counter()
    for verb in ("search", "add"):
        method = getattr(memory, verb)
        monkeypatch.setattr(
            memory, verb, lambda *given, m=method, v=verb, **named: (counted.update([v]), m(*given, **named))[1]
        )
    return counted


@pytest.mark.parametrize("backend", INSTALLED)
def test_recomputed_activations_change_no_loss(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, with dropout; a step searches each memory once and writes it once, and its probe keeps its rhythm."""
    memory = MemoryConfig(backend=backend, capacity=48, neighbours=4, probe=ProbeConfig(every=2))
    seen: dict[str, object] = {}
    for which in ("none", "memory", "all"):
        run = trainer(tmp_path / which, config(checkpoint_activations=which).model_copy(update={"memory": memory}))
        counted = [calls(each, monkeypatch) for each in memories(run)]
        losses = [run.advance().loss for _ in range(5)]
        assert counted == [{"search": 5, "add": 5}] * 2
        weights = {name: weight.tolist() for name, weight in run.model.state_dict().items()}
        seen[which] = losses, weights, [watch.take_probed() for watch in run.monitors]
    assert seen["memory"] == seen["none"]
    assert seen["all"] == seen["none"]


def test_recomputed_activations_are_not_kept(tmp_path: Path) -> None:
    """What autograd saves in forward is less the more layers are computed again."""
    saved: list[int] = []
    for which in ("none", "memory", "all"):
        model = RunConfig.model_validate(TINY).model.model_copy(update={"memory_layers": (2,)})
        run = config(checkpoint_activations=which).model_copy(update={"model": model})
        one = trainer(tmp_path / which, run)
        sizes: dict[int, int] = {}
        with saved_tensors_hooks(lambda x, s=sizes: (s.update({x.data_ptr(): x.numel()}), x)[1], lambda x: x):
            one.model(next(one.streams[0]).tokens, one.streams[0].bank, one.streams[0].cache)
        saved.append(sum(sizes.values()))
    assert saved[0] > 1.3 * saved[1] > 1.6 * saved[2]


@pytest.mark.parametrize(
    "settings",
    [
        {"checkpoint_activations": "none"},
        {"checkpoint_activations": "memory"},
        {"checkpoint_activations": "all"},
        {"accumulation": 2},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_a_compiled_run_has_the_same_losses(
    settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled once for training, and for validation once with the memory and once without. torch's own operators run
    here, and agree to the bit; in half precision they round at other places."""
    compiling = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(
        Transformer, "compile", lambda self, **options: nn.Module.compile(self, backend=compiling, **options)
    )
    torch._dynamo.reset()
    seen = []
    for compiled in (False, True):
        run = trainer(tmp_path / str(compiled), config(compile=compiled, **settings))
        losses = [run.advance().loss for _ in range(6)]
        seen.append([*losses, *perplexities(run.validate())])
    assert seen[1] == (pytest.approx(seen[0], rel=1e-2) if "precision" in settings else seen[0])
    assert compiling.frame_count == 3


def perplexities(validated: ValidationEntry) -> list[float]:
    assert validated.with_memory is not None
    return [validated.with_memory.perplexity, validated.without.perplexity]


def test_a_new_document_forgets_the_old_one(tmp_path: Path) -> None:
    """After every step a row's memory holds just what it has read of its document, at most the capacity."""
    run = trainer(tmp_path / "run", config())
    for _ in range(12):
        run.advance()
        position = run.streams[0].reader.state_dict()["position"]
        assert torch.equal(memories(run)[0].lengths, position.clamp(max=48))


def test_parts_of_a_step_have_their_own_rows(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", config(accumulation=2))
    entry = run.advance()
    assert [memory.shape.rows for stream in run.streams for memory in stream.bank.values()] == [2] * 4
    assert entry.loss == pytest.approx(5.5, abs=0.5)  # the whole step's mean, near log 257


def test_bfloat16_autocast_trains(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", config(precision="bfloat16"))
    seen = [run.advance().loss for _ in range(4)]
    assert all(torch.tensor(seen).isfinite())
    assert memories(run)[0].memory.stored_keys.dtype == torch.float32


def test_validation_reads_with_and_without_memory_and_leaves_training_alone(tmp_path: Path) -> None:
    reports: list[LogEntry] = []
    trainer(tmp_path / "a", config(validate_every=3)).train(reports.append)
    trainer(tmp_path / "b", config()).train()
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    validated = [entry for entry in reports if entry.kind == "validation"]
    assert [entry.step for entry in validated] == [3, 6, 9, 12]
    assert validated[0].with_memory not in (None, validated[0].without)
    assert [entry.gain_appears for entry in validated].count(True) <= 1
    assert run_folder.read_log(tmp_path / "a") == reports


def test_the_log_marks_where_the_gain_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, at the first validation in which the memory saves one per cent; also across a resume."""
    monkeypatch.setattr("memstack_models.training.trainer.GAIN", -10.0)
    run = trainer(tmp_path / "run", config(validate_every=3))
    train_until(run, step=8)
    second = trainer(tmp_path / "run", config(validate_every=3))
    second.resume()
    second.train()
    entries = run_folder.read_log(tmp_path / "run")
    assert [entry.step for entry in entries if entry.kind == "validation" and entry.gain_appears] == [3]


def test_adafactor_refuses_what_it_would_clamp() -> None:
    for wrong in ({"schedule": "cosine"}, {"schedule": "rsqrt", "learning_rate": 3.0}):
        with pytest.raises(ValidationError, match="adafactor steps by at most 1/sqrt"):
            TrainConfig.model_validate({"optimizer": "adafactor"} | wrong)


def test_the_papers_scale_learns_under_adafactor(tmp_path: Path) -> None:
    """Its step is relative to the parameter, so that a logarithm that starts at zero would stay there."""
    model = TINY["model"] | {"scale_form": "abs", "scale_init": 1.0}
    run = RunConfig.model_validate(TINY | {"model": model, "train": TINY["train"] | {"optimizer": "adafactor"} | RSQRT})
    paper = trainer(tmp_path / "run", run)
    paper.train()
    scales = [scale for block in paper.model.blocks for scale in block.attention.scale.tolist()]
    assert all(abs(scale - 1.0) > 0.01 for scale in scales)
    assert all(0.3 < scale < 3.0 for scale in scales)


def test_a_log_line_cut_in_half_is_dropped(tmp_path: Path) -> None:
    step = StepEntry(step=1, loss=1.0, rate=0.1, tokens_per_s=1, memory_share=(), search_ms=0.0, add_ms=0.0)
    run_folder.append_log(tmp_path, step)
    with (tmp_path / run_folder.LOG).open("a") as log:
        log.write('{"step": 2, "lo')
    run_folder.rewind_log(tmp_path, 2)
    assert losses(tmp_path) == [1.0]


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    first = trainer(tmp_path / "run", config())
    first.train()
    before = (tmp_path / "run" / run_folder.LOG).read_bytes()
    with pytest.raises(RunFolderError, match="already holds a run: continue it with --resume"):
        run_folder.create(tmp_path / "run", config(), ByteTokenizer())
    with pytest.raises(RunFolderError, match=r"train\.rows is 4 there and 8 here"):
        run_folder.refuse_other(tmp_path / "run", config(rows=8))
    run_folder.refuse_other(tmp_path / "run", config(log_every=7))
    options = MemoryConfig(capacity=48, neighbours=4, options={"dtype": "bfloat16"})
    with pytest.raises(RunFolderError, match=r"memory\.options\.dtype is None there and 'bfloat16' here"):
        run_folder.refuse_other(tmp_path / "run", config().model_copy(update={"memory": options}))
    with pytest.raises(RunFolderError, match=r"train\.steps is 12 there and 13 here"):
        run_folder.refuse_other(tmp_path / "run", config(steps=13))
    assert (tmp_path / "run" / run_folder.LOG).read_bytes() == before


def test_exported_weights_evaluate_but_do_not_resume(tmp_path: Path) -> None:
    run = config()
    trained = trainer(tmp_path / "run", run)
    trained.train()
    run_folder.export(tmp_path / "run", tmp_path / "out")
    model, tokenizer = run_folder.load_model(tmp_path / "out", run, torch.device("cpu"))
    for name, weight in trained.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=1e-2, atol=1e-2)
    assert tokenizer.vocab_size == 257
    with pytest.raises(CheckpointError, match="exported weights only"):
        trainer(tmp_path / "out", run).resume()


def test_the_papers_schedule() -> None:
    """Warm-up over 1000 steps to 1/sqrt(1000) = 0.0316, then 1/sqrt(step): 0.00141 at 500k (the paper)."""
    paper = TrainConfig(optimizer="adafactor", learning_rate=1.0, schedule="rsqrt", warmup=1000, steps=500_000)
    assert learning_rate(paper, 999) == pytest.approx(0.0316, abs=1e-4)
    assert learning_rate(paper, 499) == pytest.approx(0.0316 / 2, abs=1e-4)
    assert learning_rate(paper, 499_999) == pytest.approx(0.00141, abs=1e-5)


def test_the_cosine_ends_at_a_tenth() -> None:
    cosine = TrainConfig(learning_rate=1.0, warmup=10, steps=110)
    rates = [learning_rate(cosine, step) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=1e-2)


def test_a_run_killed_at_arbitrary_points_has_the_uninterrupted_losses(tmp_path: Path) -> None:
    """SIGKILL, wherever it falls: before the first checkpoint, within a step, within a write. Then --resume."""
    settings = {
        "data.corpus": write_corpus(tmp_path / "corpus", documents=5, words=400),
        "data.tokenizer": "bytes",
        "train.steps": 120,
        "train.segment": 32,
        "train.checkpoint_every": 3,
        "train.log_every": 1,
    }
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]

    def start(folder: str, *more: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "memstack",
            "train",
            "tiny",
            "--out",
            str(tmp_path / folder),
            *arguments,
            *more,
        ]
        environment = os.environ | {"MEMSTACK_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    assert start("whole").wait() == 0
    dice = random.Random(0)
    kills = 0
    for _ in range(4):
        run = start("cut", "--resume")
        log = tmp_path / "cut" / run_folder.LOG
        seen = log.stat().st_size if log.exists() else 0
        # Starting takes seconds: the time that counts runs from the first new log line, or from the folder's making.
        while run.poll() is None and not (log.exists() and log.stat().st_size > seen):
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.5))
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.wait()
    assert kills >= 2
    assert start("cut", "--resume").wait() == 0
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
