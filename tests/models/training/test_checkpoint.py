"""Checkpoints: what is written is read again; what is damaged is refused; a failed write leaves the last good one."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.config import RunConfig
from memstack_models.transformer.transformer import Transformer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from memstack import ConfigError

TENSORS = {
    "model.a": torch.randn(3, 4),
    "model.half": torch.randn(5).bfloat16(),
    "stream.0.count": torch.tensor([1, 2]),
    "random": torch.get_rng_state(),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(1.5),
}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """It is as large as a checkpoint, and nobody would know it by its name."""
    (tmp_path / ".tmpk24Qiv").write_bytes(b"cut off")
    (tmp_path / ".tmp-notes").write_text("mine")
    checkpoint.save(tmp_path, {"model.weight": torch.ones(2)}, {"step": 1})
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.FILE, ".tmp-notes"}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    tensors, progress = checkpoint.load(tmp_path)
    assert same(tensors, TENSORS)
    assert progress == {"step": 7}
    assert checkpoint.load(tmp_path, "model.")[0].keys() == {"model.a", "model.half"}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]


def written(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a checkpoint and its metadata, as safetensors reads them."""
    with safe_open(folder / checkpoint.FILE, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_a_checkpoint_from_before_formats_had_numbers_is_read(tmp_path: Path) -> None:
    """Such as the one that ships; its digest is over the contents alone."""
    progress = json.dumps({"step": 7})
    metadata = {"progress": progress, "digest": checkpoint.digest(TENSORS, progress)}
    save_file(TENSORS, tmp_path / checkpoint.FILE, metadata)
    tensors, found = checkpoint.load(tmp_path)
    assert same(tensors, TENSORS)
    assert found == {"step": 7}
    assert "format" not in written(run_folder.find("stdlib-small"))[1]


@pytest.mark.parametrize("number", ["2", "17", "-1", "one", "1.0", ""])
def test_an_unknown_format_is_refused(tmp_path: Path, number: str) -> None:
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    tensors, metadata = written(tmp_path)
    assert metadata["format"] == "1"
    save_file(tensors, tmp_path / checkpoint.FILE, metadata | {"format": number})
    told = rf"{checkpoint.FILE} is of format {number}; this memstack reads formats 0 to 1: install a newer memstack"
    with pytest.raises(CheckpointError, match=told):
        checkpoint.load(tmp_path)


def test_the_number_is_part_of_the_digest(tmp_path: Path) -> None:
    """A file whose number was lost, or changed to another known one, is damaged."""
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    tensors, metadata = written(tmp_path)
    without = {name: text for name, text in metadata.items() if name != "format"}
    for changed in (without, metadata | {"format": "0"}):
        save_file(tensors, tmp_path / checkpoint.FILE, changed)
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoint.load(tmp_path)


def test_a_configuration_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    run_folder.create(tmp_path, RunConfig.model_validate({"model": {"preset": "tiny"}}), ByteTokenizer())
    path = tmp_path / run_folder.CONFIG
    text = path.read_text(encoding="utf-8")
    assert text.startswith("format = 1\n")
    path.write_text(text.replace("format = 1\n", ""), encoding="utf-8")  # from before there was a number
    assert run_folder.read_config(tmp_path).format == 1
    path.write_text(text.replace("format = 1\n", "format = 2\ncolour = 3\n"), encoding="utf-8")
    told = rf"{run_folder.CONFIG}: format: this memstack reads format 1, got 2: install a newer memstack"
    with pytest.raises(ConfigError, match=told):
        run_folder.read_config(tmp_path)


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*memstack train"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, kept: float) -> None:
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    path = tmp_path / checkpoint.FILE
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content) if kept < 1 else kept)])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        checkpoint.load(tmp_path)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Flips spread over the whole file, header included: each is refused, whatever it hits."""
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    path = tmp_path / checkpoint.FILE
    content = path.read_bytes()
    for place in range(0, len(content), 37):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(tmp_path)


def test_a_disk_that_fills_up_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    """The write really fails: the process may not write files beyond 4 KB, as on a full disk."""
    checkpoint.save(tmp_path, TENSORS, {"step": 1})
    program = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from memstack_models.training import checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "checkpoint.save(Path(sys.argv[1]), {'model.a': torch.zeros(100_000)}, {'step': 2})\n"
    )
    failed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert "CheckpointError: could not write" in last
    assert "the previous checkpoint is untouched" in last
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
    tensors, progress = checkpoint.load(tmp_path)
    assert same(tensors, TENSORS)
    assert progress == {"step": 1}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    small = RunConfig.model_validate({"model": {"preset": "tiny"}})
    run_folder.create(tmp_path / "run", small, tokenizer := ByteTokenizer())
    model = Transformer(small.model, tokenizer.vocab_size)
    checkpoint.save(tmp_path / "run", {f"model.{name}": w for name, w in model.state_dict().items()}, {"step": 0})
    other = run_folder.read_config(tmp_path / "run", ["model.ffn_dim=100"])
    with pytest.raises(CheckpointError, match=r"of another shape: blocks\.0\.down\.weight is \(64, 256\).*\(64, 100\)"):
        run_folder.load_model(tmp_path / "run", other, torch.device("cpu"))
