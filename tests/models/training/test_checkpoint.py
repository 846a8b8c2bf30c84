"""Checkpoints: what is written is read again; what is damaged is refused; a failed write leaves the last good one."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.kept_checkpoints import kept_file, save_in_one_file, write_one_file
from helpers.small_run import config, losses, trainer
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.manifest import MANIFEST, seal
from memstack_models.training.one_file import FILE
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


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """It is as large as a checkpoint, and nobody would know it by its name."""
    for name in ("checkpoint.writing", "checkpoint-1", "checkpoint-1.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".tmpk24Qiv").write_bytes(b"cut off")
    (tmp_path / ".tmp-notes").write_text("mine")
    checkpoint.save(tmp_path, {"model.weight": torch.ones(2)}, {"step": 2})
    assert names(tmp_path) == [".tmp-notes", "checkpoint-2"]
    assert names(tmp_path / "checkpoint-2") == ["manifest.json", "rank-0.safetensors"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for _ in range(2):  # the second time over the first
        checkpoint.save(tmp_path, TENSORS, {"step": 7})
        tensors, progress = checkpoint.load(tmp_path)
        assert same(tensors, TENSORS)
        assert progress == {"step": 7}
        assert checkpoint.load(tmp_path, "model.")[0].keys() == {"model.a", "model.half"}
        assert names(tmp_path) == ["checkpoint-7"]


@pytest.mark.parametrize("left", ["checkpoint-7.old", "checkpoint-4"])
def test_of_two_checkpoints_that_a_kill_has_left_the_last_made_is_read(tmp_path: Path, left: str) -> None:
    """A save that was killed between the new one's name and the end of the old one; and just before that."""
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    (tmp_path / "checkpoint-7").rename(tmp_path / "kept")
    checkpoint.save(tmp_path, {"other": torch.ones(1)}, {"step": 7 if "old" in left else 4})
    next(tmp_path.glob("checkpoint-*")).rename(tmp_path / left)
    assert checkpoint.load(tmp_path)[0].keys() == {"other"}
    (tmp_path / "kept").rename(tmp_path / "checkpoint-7")
    assert same(checkpoint.load(tmp_path)[0], TENSORS)


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an evaluation does that comes upon a training."""
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    read_tensors = checkpoint.read_tensors

    def late(path: Path, sha256: str) -> object:
        if path.parent.name == "checkpoint-7":
            checkpoint.save(tmp_path, TENSORS, {"step": 8})
        return read_tensors(path, sha256)

    monkeypatch.setattr(checkpoint, "read_tensors", late)
    tensors, progress = checkpoint.load(tmp_path)
    assert (same(tensors, TENSORS), progress) == (True, {"step": 8})


@pytest.mark.parametrize("number", [None, "0", "1"])
def test_a_checkpoint_of_one_file_is_read(tmp_path: Path, number: str | None) -> None:
    """Such as the one that ships; without a number its digest is over the contents alone."""
    digested = None if number == "0" else number
    write_one_file(tmp_path, TENSORS, json.dumps({"step": 7}), digested)
    tensors, found = checkpoint.load(tmp_path)
    assert same(tensors, TENSORS)
    assert found == {"step": 7}
    shipped = run_folder.find("stdlib-small") / FILE
    with safe_open(shipped, framework="pt") as file:
        assert "format" not in file.metadata()


def test_a_run_of_one_file_goes_on_to_the_bit_and_is_saved_as_a_folder(tmp_path: Path) -> None:
    run = config(accumulation=2)
    trainer(tmp_path / "whole", run).train()
    first = trainer(tmp_path / "run", run)
    for _ in range(5):
        first.advance()
    save_in_one_file(first)
    assert kept_file(tmp_path / "run").name == FILE
    second = trainer(tmp_path / "run", run)
    second.resume()
    second.train()
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")[5:]
    assert kept_file(tmp_path / "run").parent.name == "checkpoint-12"
    assert not (tmp_path / "run" / FILE).exists()


@pytest.mark.parametrize("number", [3, 17, -1, 1, "two", 2.5, None])
def test_an_unknown_format_is_refused(tmp_path: Path, number: object) -> None:
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    path = tmp_path / "checkpoint-7" / MANIFEST
    tree = json.loads(path.read_bytes())
    del tree["sha256"]
    assert tree["format"] == 2
    path.write_bytes(seal(json.dumps(tree | {"format": number})))
    told = rf"{MANIFEST} is of format {number}; this memstack reads formats 0 to 2: install a newer memstack"
    with pytest.raises(CheckpointError, match=told):
        checkpoint.load(tmp_path)
    path.write_bytes(seal(json.dumps({name: part for name, part in tree.items() if name != "format"})))
    with pytest.raises(CheckpointError, match="is of format None"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("number", ["3", "17", "-1", "one", "1.0", ""])
def test_an_unknown_format_of_one_file_is_refused(tmp_path: Path, number: str) -> None:
    write_one_file(tmp_path, TENSORS, json.dumps({"step": 7}))
    with safe_open(tmp_path / FILE, framework="pt") as file:
        metadata = file.metadata()
    for changed in (metadata | {"format": number}, {name: metadata[name] for name in ("progress", "digest")}):
        save_file(TENSORS, tmp_path / FILE, changed)
        told = f"{FILE} is of format {number}; this" if "format" in changed else "is damaged"
        with pytest.raises(CheckpointError, match=told):
            checkpoint.load(tmp_path)


def test_a_manifest_and_files_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    """With right digests all the same: names, types, shapes and files are compared."""
    checkpoint.save(tmp_path, TENSORS, {"step": 7})
    path = tmp_path / "checkpoint-7" / MANIFEST
    tree = json.loads(path.read_bytes())
    del tree["sha256"]
    one = tree["tensors"]["model.a"]
    other = {
        "a tensor less": {name: held for name, held in tree["tensors"].items() if name != "model.a"},
        "a tensor more": tree["tensors"] | {"model.b": one},
        "another type": tree["tensors"] | {"model.a": one | {"dtype": "float16"}},
        "another shape": tree["tensors"] | {"model.a": one | {"shape": [4, 3]}},
        "a file that is none": tree["tensors"] | {"model.a": one | {"files": ["rank-1.safetensors"]}},
        "a piece that is none": tree["tensors"] | {"model.a": one | {"files": ["rank-0.safetensors"] * 2}},
        "a file elsewhere": tree["tensors"] | {"model.a": one | {"files": ["../rank-0.safetensors"]}},
        "no file": tree["tensors"] | {"model.a": one | {"files": []}},
    }
    for what, tensors in other.items():
        path.write_bytes(seal(json.dumps(tree | {"tensors": tensors})))
        with pytest.raises(CheckpointError, match="is damaged"):
            pytest.fail(f"loaded with {what}: {checkpoint.load(tmp_path)}")


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
    assert names(tmp_path) == ["checkpoint-1"]
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
