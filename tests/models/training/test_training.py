"""The training step: what it writes, recomputes, compiles, validates and logs."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers.small_run import TINY, config, losses, train_until, trainer
from memstack_exact.search import ExactMemory
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.errors import DivergedError
from memstack_models.training.records import LogEntry, ValidationEntry
from memstack_models.training.trainer import Trainer
from memstack_models.transformer.transformer import Transformer
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd.graph import saved_tensors_hooks

from memstack import Memory
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack.plugins.registry import registry
from memstack.wrappers.base import MemoryWrapper


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


INSTALLED = [spec.name for spec in registry().specs() if not (spec.missing() or spec.needs_options)]


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
        {"checkpoint_activations": "memory", "accumulation": 2},
        pytest.param({"checkpoint_activations": "none"}, marks=pytest.mark.long),
        pytest.param({"checkpoint_activations": "all"}, marks=pytest.mark.long),
        pytest.param({"precision": "bfloat16"}, marks=pytest.mark.long),
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
    first = memories(run)[0]
    while isinstance(first, MemoryWrapper):
        first = first.memory
    assert isinstance(first, ExactMemory)
    assert first.stored_keys.dtype == torch.float32


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
