"""No key of a run takes a number that a run cannot: what is accepted trains, and what is not is refused in one line."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_run import TINY, config, documents
from memstack_models.data.reader import Reader
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.sizes import refuse_too_large
from memstack_models.training.trainer import Trainer
from pydantic import BaseModel

from memstack import ConfigError, MemstackError
from memstack.plugins import config as configuration
from memstack.plugins.secrets import inner_model

CPU = torch.device("cpu")
WHOLE = [-1, 0, 1, 2, 1 << 16, 1 << 31, 1 << 40, (1 << 62) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10**30, 10**4000]
REAL = [-1.0, -0.0, 1e-320, 0.5, 1.0, 2.0, 1e39, 1e300, math.nan, math.inf, -math.inf]
OTHER: list[Any] = ["", "nonsense", "\x00", "1e999", True, False, None, [], [-1], [1 << 63], [[]], {}, {"a": {}}]


def leaves(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that has a value of its own."""
    for name, field in section.model_fields.items():
        inner = inner_model(field.annotation)
        yield from leaves(inner, (*prefix, name)) if inner is not None else [(*prefix, name)]


def with_value(key: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A small run, with one key another."""
    tree = {section: dict(values) for section, values in TINY.items()}
    section: dict[str, Any] = tree
    for name in key[:-1]:
        section = section.setdefault(name, {})
    section[key[-1]] = value
    return tree


def train_a_step(tree: dict[str, Any], folder: Path) -> None:
    run = configuration.validate(RunConfig, tree, "here")
    run_folder.checked(run)
    run_folder.as_toml(run)
    tokenizer = ByteTokenizer()
    trainer = Trainer(run, folder, tokenizer.vocab_size, documents(), documents(2), tokenizer.token_bytes)
    trainer.advance()


@pytest.mark.parametrize("key", list(leaves(RunConfig)), ids=".".join)
def test_a_value_is_refused_in_one_line_or_can_be_used(key: tuple[str, ...], tmp_path: Path) -> None:
    values: list[Any] = [*WHOLE, *REAL, *OTHER]
    if key in (("model", "preset"), ("train", "compile")):
        values = [each for each in OTHER if each is not True]  # a compiler takes its time
    for value in values:
        told = "" if takes_long(key, value) else refusal(with_value(key, value), tmp_path)
        assert "\n" not in told, (key, value)
        assert len(told) < 700, (key, value)
    assert list(tmp_path.iterdir()) == []


def refusal(tree: dict[str, Any], folder: Path) -> str:
    """What a run is refused with; nothing if it trains."""
    try:
        train_a_step(tree, folder)
    except MemstackError as error:
        return str(error)
    return ""


def takes_long(key: tuple[str, ...], value: Any) -> bool:
    """True of what fits into a machine of some gigabytes, and takes it minutes."""
    return value == 1 << 16 and key[0] in ("model", "memory", "train") and key[-1] not in COUNTS


COUNTS = ("steps", "warmup", "log_every", "checkpoint_every", "validate_every", "validate_tokens", "seed", "every")


@pytest.mark.parametrize("seed", [0, 1_795_695_199_924_680_980, (1 << 64) - 1])
def test_any_seed_that_torch_takes_orders_documents(seed: int, tmp_path: Path) -> None:
    """Such as a clock in nanoseconds."""
    train_a_step(with_value(("train", "seed"), seed), tmp_path)
    orders = [
        [next(reader).document.tolist() for _ in range(9)]
        for reader in (Reader(documents(), 2, 16, seed), Reader(documents(), 2, 16, seed))
    ]
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model": {"preset": "paper-8b", "layers": 4096}}, "its weights and its optimiser .* lower model.dim"),
        ({"train": {"segment": 1 << 20}}, r"one step's activations .* lower train\.segment"),
        ({"memory": {"capacity": 1 << 40}}, "its memories .* lower capacity"),
        ({"model": {"preset": "tiny", "cache": 1 << 24}}, r"its memories .* lower capacity, model\.cache"),
    ],
)
def test_what_this_machine_cannot_hold_is_refused_with_the_bytes(settings: dict[str, Any], told: str) -> None:
    run = RunConfig.model_validate({"model": {"preset": "tiny"}} | settings)
    with pytest.raises(ConfigError, match=rf"needs [\d,.]+ GB at least, of which {told}"):
        refuse_too_large(run, 257, CPU, run.memory)


def test_what_is_kept_in_a_folder_is_not_held(tmp_path: Path) -> None:
    tree = {"model": {"preset": "tiny"}, "memory": {"capacity": 1 << 40, "options": {"folder": str(tmp_path)}}}
    run = RunConfig.model_validate(tree)
    refuse_too_large(run, 257, CPU, run.memory)
    refuse_too_large(config(), 257, CPU, None)


@pytest.mark.parametrize("name", ["", "meta", "gpu", "cuda:99", "cpu:x", "\x00", "xla", "vulkan", "privateuseone"])
def test_a_device_that_computes_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.device .* cannot be used here") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)


def test_bounds_belong_together() -> None:
    tree = {"model": {"preset": "tiny", "candidates": 8}, "memory": {"neighbours": 9}}
    with pytest.raises(ConfigError, match=r"model\.candidates \(8\) should be at least memory\.neighbours \(9\)"):
        configuration.validate(RunConfig, tree, "here")


def test_every_number_of_a_run_is_tried() -> None:
    keys = [".".join(key) for key in leaves(RunConfig)]
    assert {"train.seed", "model.dropout", "memory.probe.sampled", "eval.tokens", "data.vocab_size"} <= set(keys)
    assert len(list(itertools.chain(keys))) > 50
