"""What a training is estimated to take, beside what it takes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_run import TINY, config
from memstack_exact.search import ExactMemory
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.dry_run import Operation, dry_run
from memstack_models.training.estimate import estimate
from memstack_models.training.model import new_model
from memstack_models.training.optimizers import create_optimizer, optimizer_state, state_shapes
from memstack_models.training.parameters import FLOAT, optimizer_bytes, parameter_count
from memstack_models.training.sizes import MACHINE, Part, TooLargeError, available, most, refuse_too_large, run_parts
from memstack_models.training.step_seconds import Speeds
from memstack_models.training.stream import create_bank
from memstack_models.transformer.cache import Cache

from memstack import BackendOptions, IndexedMemory, MemoryShape
from memstack.plugins.config import MemoryConfig
from memstack.plugins.registry import registry

CPU = torch.device("cpu")
MODELS: dict[str, dict[str, Any]] = {
    "tiny": {"preset": "tiny"},
    "small": {"preset": "small", "age_init": 0.3, "candidates": 64},
    "grouped": {"preset": "small", "kv_heads": 2, "cache": 64, "memory_layers": [2]},
    "plain": {"preset": "tiny", "memory_layers": []},
    "paper": {"preset": "paper-200m", "layers": 3, "dim": 64, "ffn_dim": 96, "head_dim": 8, "memory_layers": [2]},
}


def run_of(model: dict[str, Any], **train: Any) -> RunConfig:
    sizes = {"rows": 2, "segment": 32, "steps": 10}
    return RunConfig.model_validate({"model": model, "memory": {"capacity": 128}, "train": sizes | train})


def parts_of(run: RunConfig, activations: int | None = None) -> dict[str, Part]:
    return {part.name: part for part in run_parts(run, 257, CPU, run.memory, activations)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_parameters_and_the_optimisers_numbers_are_counted_exactly(name: str, optimizer: str) -> None:
    run = run_of(MODELS[name], optimizer=optimizer, schedule="rsqrt", learning_rate=0.1)
    model = new_model(run, 257)
    assert parameter_count(run.model, 257) == sum(each.numel() for each in model.parameters())
    made = create_optimizer(model, run.train)
    states = [state_shapes(made, each) for each in model.parameters()]
    numbers = [torch.Size(shape).numel() for state in states for key, shape in state.items() if key != "step"]
    assert optimizer_bytes(run.train, run.model, 257) == FLOAT * sum(numbers)


@pytest.mark.parametrize("name", ["tiny", "grouped"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_caches_memories_and_indices_are_counted_exactly(name: str, dtype: str) -> None:
    run = run_of(MODELS[name])
    run = run.model_copy(update={"memory": MemoryConfig(capacity=99, options={"dtype": dtype})})
    parts = parts_of(run, 0)
    cache = Cache(run.model, 2).state_dict()
    assert parts["cache"].expected == sum(each.nbytes for each in cache.values())
    for layer, memory in create_bank(run.model, run.memory, 2, CPU).items():
        assert isinstance(memory, ExactMemory)
        store = memory._IndexedMemory__ledger.store  # pyright: ignore[reportAttributeAccessIssue]
        assert parts[f"memory of layer {layer}"].expected == sum(each.nbytes for each in store.numbers())
        kept = 0 if memory.first_pass is None else getattr(memory.first_pass, "nbytes", 0)
        assert parts[f"index of layer {layer}"].expected == kept


def test_what_a_backend_does_not_say_is_not_known() -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=8)
    assert registry().index_bytes("hnsw", shape, BackendOptions()) is None
    assert IndexedMemory.index_bytes(shape, BackendOptions()) is None
    run = run_of(MODELS["tiny"])
    run = run.model_copy(update={"memory": MemoryConfig(backend="hnsw", capacity=64)})
    assert parts_of(run, 0)["index of layer 1"].expected is None
    assert "index of layer 1" not in parts_of(run)


@pytest.mark.parametrize(
    "train",
    [{}, {"precision": "bfloat16"}, {"checkpoint_activations": "all"}, {"checkpoint_activations": "memory"}],
    ids=["as it is", "half", "all again", "memory again"],
)
def test_the_bound_of_activations_is_below_what_a_step_holds(train: dict[str, Any]) -> None:
    run = run_of(MODELS["small"], **train)
    bound = parts_of(run)["activations"]
    assert bound.least == bound.expected
    assert 0 < bound.least < dry_run(run, 257).activations


def test_computing_activations_again_holds_less_and_does_more() -> None:
    kept, again = (dry_run(run_of(MODELS["small"], checkpoint_activations=which), 257) for which in ("none", "all"))
    assert again.activations < kept.activations
    assert sum(each.flops for each in again.operations) > sum(each.flops for each in kept.operations)
    assert [each.name for each in again.operations].count("search") == 2


def test_parts_of_a_step_keep_what_they_add() -> None:
    whole, parted = (dry_run(run_of(MODELS["tiny"], accumulation=parts), 257) for parts in (1, 2))
    assert parted.activations_of(2) == parted.activations + parted.kept
    assert whole.kept == pytest.approx(2 * parted.kept)


def test_an_operation_takes_what_its_kind_does() -> None:
    moved = dict.fromkeys(("plain", "exp", "logsumexp", "sum", "softmax", "scattered", "entries"), 1e9)
    speeds = Speeds(products={"mm": 1e9, "bmm": 1e8}, moved=moved | {"exp": 1e8}, call=1e-6)
    told = {"mm": 1.000001, "bmm": 10.000001, "mul": 1.000001, "exp": 10.000001}
    for name, seconds in told.items():
        flops = 10**9 if name.endswith("mm") else 0
        assert speeds.seconds(Operation(name, flops, 10**9)) == pytest.approx(seconds)


def test_an_estimate_tells_of_a_recipe_of_a_run_and_of_a_checkpoint(tmp_path: Path) -> None:
    settings = [f"{section}.{key}={value}" for section in ("model", "train") for key, value in TINY[section].items()]
    settings = [each.replace("=tiny", '="tiny"') for each in settings] + ["memory.capacity=64"]
    record = estimate("tiny", settings)
    assert record.fits
    assert record.seconds is not None
    told = record.seconds.model_dump()
    assert all(value > 0 for value in told.values())
    assert told.pop("total") == pytest.approx(sum(told.values()), abs=1e-5)
    assert record.places[MACHINE].least < record.places[MACHINE].bytes < (available(MACHINE) or 1 << 62)
    assert {part.name for part in record.parts} >= {"model", "gradients", "optimiser", "activations", "cache"}
    assert len(list(record.as_json())) > 100


def test_what_cannot_fit_is_estimated_by_its_bounds_and_refused_with_the_same() -> None:
    settings = ["memory.capacity=1099511627776", "train.validate_every=0"]
    record = estimate("tiny", settings)
    assert not record.fits
    assert record.seconds is None
    run = run_folder.recipe("tiny", settings)
    with pytest.raises(TooLargeError) as caught:
        refuse_too_large(run, 257, CPU, run.memory)
    assert {part.name: part.least for part in caught.value.parts} == {part.name: part.least for part in record.parts}
    assert most(caught.value.parts, MACHINE, "least") == record.places[MACHINE].least


def test_files_and_validation_count_where_and_when_they_are(tmp_path: Path) -> None:
    tree = TINY | {"memory": {"capacity": 1 << 40, "options": {"folder": str(tmp_path)}}}
    run = RunConfig.model_validate(tree)
    parts = parts_of(run)
    assert parts["memory of layer 1"].place == f"files in {tmp_path}"
    refuse_too_large(run, 257, CPU, run.memory)
    validating = parts_of(config(validate_every=2, steps=4))
    assert validating["validation: cache"].moments == ("validation",)
    assert validating["validation: memory of layer 1"].least < (
        validating["validation: memory of layer 1"].expected or 0
    )
    assert not any(name.startswith("validation") for name in parts_of(config(validate_every=5, steps=4)))


MEASURED = """
import json, re, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from memstack_models.training.config import RunConfig
from memstack_models.training.trainer import Trainer
run = RunConfig.model_validate(json.loads(sys.argv[1]))
documents = [torch.randint(256, (4000,)) for _ in range(8)]
from memstack.wrappers.timing import TimedMemory  # and whatever else is imported late
warm = run.model_copy(update={"train": run.train.model_copy(update={"rows": 1, "segment": 8})})
Trainer(warm.model_copy(update={"memory": warm.memory.model_copy(update={"capacity": 64})}), Path("."), 257, documents,
        [], torch.ones(257, dtype=torch.int64)).advance()

def held(what):
    return 1024 * int(re.search(rf"{what}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
before = held("VmRSS")
trainer = Trainer(run, Path("."), 257, documents, [], torch.ones(257, dtype=torch.int64))
for _ in range(2):
    trainer.advance()
print(held("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells of peaks, and forgets them")
def test_a_training_takes_what_was_estimated() -> None:
    """In a process of its own, whose peak is nobody else's; which is why it takes seconds."""
    tree = {
        "model": {"preset": "small", "cache": 64},
        "memory": {"capacity": 8192},
        "train": {"rows": 8, "segment": 128, "steps": 9},
    }
    run = RunConfig.model_validate(tree)
    line = [sys.executable, "-c", MEASURED, json.dumps(tree)]
    taken = int(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
    told = list(parts_of(run, dry_run(run, 257).activations).values())
    assert most(told, MACHINE, "least") < taken
    # What a search holds meanwhile, and what the allocator does not give back, comes on top.
    assert 0.5 * taken < most(told, MACHINE, "expected") < 1.1 * taken


def test_an_optimiser_keeps_as_many_bytes_as_were_counted() -> None:
    run = run_of(MODELS["tiny"])
    model = new_model(run, 257)
    made = create_optimizer(model, run.train)
    for each in model.parameters():
        each.grad = torch.zeros_like(each)
    made.step()
    state = {name: each for name, each in optimizer_state(made, model).items() if not name.endswith(".step")}
    assert sum(each.nbytes for each in state.values()) == optimizer_bytes(run.train, run.model, 257)
