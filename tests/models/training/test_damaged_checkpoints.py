"""A thousand damaged checkpoints: none is loaded, and what refuses it names the file."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.kept_checkpoints import files_of, write_one_file
from memstack_models.data.errors import CheckpointError
from memstack_models.training import checkpoint

DAMAGED = 1000
Damage = Callable[[Path, Path, random.Random], None]


def tensors(step: int) -> dict[str, torch.Tensor]:
    """A small run's, of a step: as much as several ranks, or one, would save."""
    generator = torch.Generator().manual_seed(step)
    made = {f"model.{i}": torch.randn(7, 5, generator=generator) for i in range(3)}
    made |= {f"row.{row}.memory.2.keys": torch.randn(2, step % 5, 4, generator=generator) for row in range(4)}
    return made | {"rank.0.random": torch.randint(256, (64,), generator=generator, dtype=torch.uint8)}


def missing(path: Path, other: Path, chance: random.Random) -> None:
    path.unlink()


def truncated(path: Path, other: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def longer(path: Path, other: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + bytes(chance.randint(1, 100)))


def flipped(path: Path, other: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def zeroed(path: Path, other: Path, chance: random.Random) -> None:
    """A block that a disk has lost."""
    content = bytearray(path.read_bytes())
    begin = chance.randrange(len(content))
    end = min(len(content), begin + chance.randint(1, 512))
    content[begin:end] = bytes(end - begin) if any(content[begin:end]) else b"\xff" * (end - begin)
    path.write_bytes(content)


def of_another_step(path: Path, other: Path, chance: random.Random) -> None:
    shutil.copy(other / path.name, path)


DAMAGES: tuple[Damage, ...] = (missing, of_another_step, truncated, longer, flipped, flipped, zeroed)


def saved(folder: Path, step: int, ranks: int) -> None:
    """Write a checkpoint as so many ranks do, the model in pieces if there are several."""
    written = tensors(step)
    if not ranks:
        write_one_file(folder, written, f'{{"step": {step}}}')
    elif ranks == 1:
        checkpoint.save(folder, written, {"step": step})
    else:
        save_by_turns(folder, written, step, ranks)


def save_by_turns(folder: Path, written: dict[str, torch.Tensor], step: int, ranks: int) -> None:
    """What several ranks would write, by one process that is each of them in turn."""
    aside = folder / checkpoint.WRITING
    aside.mkdir()
    pieces = {name: tuple(tensor.shape) for name, tensor in written.items() if name.startswith("model.")}
    described: list[str] = []
    for rank in range(ranks):
        own = {name: written[name].chunk(ranks)[rank].contiguous() for name in pieces}
        others = [name for name in written if name not in pieces]
        own |= {name: written[name] for name in others[rank::ranks]}
        described.append(checkpoint._write_file(aside, rank, own, pieces))
    checkpoint._put(aside, folder, {"step": step}, described)


@pytest.mark.parametrize("ranks", [0, 1, 2, 4], ids=["one file", "1 rank", "2 ranks", "4 ranks"])
def test_no_damaged_checkpoint_is_loaded_and_each_refusal_names_the_file(tmp_path: Path, ranks: int) -> None:
    chance = random.Random(ranks)
    for folder, step in (("good", 40), ("other", 41)):
        (tmp_path / folder).mkdir()
        saved(tmp_path / folder, step, ranks)
    whole, _ = checkpoint.load(tmp_path / "good")
    assert all(torch.equal(whole[name], tensor) for name, tensor in tensors(40).items())
    files, other = files_of(tmp_path / "good"), files_of(tmp_path / "other")[0].parent
    kept = {path: path.read_bytes() for path in files}
    for _ in range(DAMAGED // 4):
        # One file of another step is a whole checkpoint, and none is none.
        path, damage = chance.choice(files), chance.choice(DAMAGES if ranks else DAMAGES[2:])
        damage(path, other, chance)
        assert not path.exists() or path.read_bytes() != kept[path], damage
        with pytest.raises(CheckpointError) as refused:
            pytest.fail(f"{path.name}, {damage.__name__}: loaded {checkpoint.load(tmp_path / 'good')}")
        told = str(refused.value)
        assert (path.name in told, "\n" in told) == (True, False), (damage, told)
        path.write_bytes(kept[path])


def test_there_is_no_pickle_in_it(tmp_path: Path) -> None:
    """No file begins or ends as one does, and none is an archive of some."""
    saved(tmp_path, 40, 2)
    for path in files_of(tmp_path):
        content = path.read_bytes()
        assert path.suffix in (".json", ".safetensors")
        assert not content.startswith((b"\x80", b"PK"))
        assert b"pickle" not in content
        assert b"ctorch" not in content
