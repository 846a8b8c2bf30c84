"""accelerate's hooks and placement, and the Trainer, with a memory attached."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hf.families import COMMON, save_tiny, text, tiny
from memstack_hf import AttachError, attach, from_pretrained
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

SMALL: dict[str, Any] = {"window": 16, "segment": 16, "neighbours": 8, "capacity": 64}
SEQUENTIAL: dict[str, Any] = {
    "train_sampling_strategy": "sequential",
    "per_device_train_batch_size": 1,
    "use_cpu": True,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
    "report_to": "none",
    "max_steps": 4,
}


class Steps(Dataset[dict[str, torch.Tensor]]):
    """One text, a segment a step."""

    def __init__(self) -> None:
        self.parts = text(1, 64).split(16, 1)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.parts[step][0], "labels": self.parts[step][0]}


@torch.no_grad()
@pytest.mark.parametrize("before", [False, True])
def test_accelerate_prepares_a_model_before_or_after(before: bool) -> None:
    model, ids = tiny("llama", COMMON), text(2, 80)
    with attach(model, **SMALL) as memory:
        expected = memory.read(ids, logits=True)
    if before:
        prepared = Accelerator(cpu=True).prepare(model)
        memory = attach(prepared, **SMALL)
    else:
        memory = attach(model, **SMALL)
        prepared = Accelerator(cpu=True).prepare(model)
    with memory:
        read = torch.cat([prepared(part).logits for part in ids.split(16, 1)], 1)
        assert expected is not None
        assert torch.equal(read, expected)
        assert memory.seen.tolist() == [80, 80]


@torch.no_grad()
@pytest.mark.parametrize("placed", ["cpu", "auto", {"model": "cpu", "lm_head": "cpu"}])
def test_a_model_that_accelerate_placed_reads_the_same(placed: Any, tmp_path: Path) -> None:
    """Where parts are placed apart, every module has a hook of accelerate's."""
    folder, ids = save_tiny(tmp_path), text(2, 80)
    plain: Any = AutoModelForCausalLM.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, device_map=placed)
    full = model(ids).logits
    with attach(plain, **SMALL) as memory:
        expected = memory.read(ids, logits=True)
    with attach(model, **SMALL) as memory:
        read = memory.read(ids, logits=True)
        assert read is not None
        assert expected is not None
        assert torch.equal(read.cpu(), expected)
        memory.reset()
        memory.read(ids)
        assert model.generate(ids[:, :4], max_new_tokens=3, do_sample=False).shape == (2, 7)
    assert torch.equal(model(ids).logits, full)


@torch.no_grad()
def test_what_is_offloaded_to_disk_is_read_and_remembered(tmp_path: Path) -> None:
    """Weights come when a module is asked, and go afterwards."""
    folder, ids = save_tiny(tmp_path / "model"), text(1, 80)
    placed = {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "model.rotary_emb": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map=placed | {"lm_head": "cpu"}, offload_folder=str(tmp_path / "offloaded")
    )
    with attach(AutoModelForCausalLM.from_pretrained(folder), **SMALL) as memory:
        expected = memory.read(ids, logits=True)
    with attach(model, **SMALL) as memory:
        read = memory.read(ids, logits=True)
    assert read is not None
    assert expected is not None
    assert torch.equal(read.cpu(), expected)


def test_a_trainer_reads_in_order_and_remembers(tmp_path: Path) -> None:
    model = tiny("llama", COMMON)
    weights = [each.clone() for each in model.parameters()]
    with attach(model, **SMALL) as memory:
        settings = TrainingArguments(output_dir=str(tmp_path), use_cache=True, save_strategy="no", **SEQUENTIAL)
        Trainer(model=model, args=settings, train_dataset=Steps()).train()
        memory.settle()
        assert (memory.seen.tolist(), memory.remembered.tolist()) == ([64], [44])
    assert not all(torch.equal(one, other) for one, other in zip(weights, model.parameters(), strict=True))


def test_a_trainer_that_switches_the_cache_off_is_told_what_to_set(tmp_path: Path) -> None:
    model = tiny("llama", COMMON)
    with attach(model, **SMALL):
        trainer = Trainer(
            model=model, args=TrainingArguments(output_dir=str(tmp_path), **SEQUENTIAL), train_dataset=Steps()
        )
        with pytest.raises(AttachError, match=r"use_cache=False.*TrainingArguments\(use_cache=True\)"):
            trainer.train()


@torch.no_grad()
def test_contents_are_known_again_by_the_model_that_accelerate_placed(tmp_path: Path) -> None:
    folder, ids = save_tiny(tmp_path / "model"), text(1, 80)
    with attach(AutoModelForCausalLM.from_pretrained(folder), **SMALL) as memory:
        memory.read(ids)
        memory.save_pretrained(tmp_path / "memory", contents=True)
    with from_pretrained(AutoModelForCausalLM.from_pretrained(folder, device_map="cpu"), tmp_path / "memory") as memory:
        assert memory.seen.tolist() == [80]
