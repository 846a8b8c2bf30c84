"""The loop for processors that are not here: compiled by a cross compiler, run in an emulator, asked through pipes."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from memstack_exact.cpu import library, variants
from memstack_exact.cpu.first_pass import DTYPES
from torch import Tensor

from memstack import Quantised

DRIVER = Path(__file__).with_name("search_driver.cpp")
COMPILERS = {"aarch64": "aarch64-linux-gnu-g++", "x86_64": "x86_64-linux-gnu-g++"}
EMULATORS = {machine: f"qemu-{machine}" for machine in COMPILERS}


def needs(machine: str) -> None:
    """Skip the test where there is no compiler or emulator for such processors."""
    for program in (COMPILERS[machine], EMULATORS[machine]):
        if not shutil.which(program):
            pytest.skip(f"{program} is not here (Debian: g++-aarch64-linux-gnu and qemu-user)")
    said = subprocess.run([EMULATORS[machine], "--version"], capture_output=True, check=True, text=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if not found or tuple(map(int, found.groups())) < (7, 2):
        pytest.skip(f"{EMULATORS[machine]} before 7.2 does not know all of these processors")


def sources_in(folder: Path) -> None:
    for name, content in library.sources().items():
        (folder / name).write_bytes(content)


def compiled(machine: str, source: Path, options: Sequence[str], folder: Path) -> Path:
    """A program without shared libraries, from a file that includes the loop's."""
    needs(machine)
    sources_in(folder)
    program = folder / source.stem
    line = [COMPILERS[machine], *options, "-O1", "-static", f"-I{folder}", "-o", str(program), str(source)]
    subprocess.run(line, check=True, capture_output=True, text=True)
    return program


def loop(variant: str, folder: Path) -> Path:
    """The program that searches by a variant of the loop for ARM."""
    own = [option for option in variants.options(variant, "aarch64") if option not in ("-O3", "-shared", "-fPIC")]
    return compiled("aarch64", DRIVER, own, folder)


def answers(program: Path, machine: str, processor: str = "max", sent: bytes = b"") -> bytes:
    line = [EMULATORS[machine], "-cpu", processor, str(program)]
    return subprocess.run(line, input=sent, capture_output=True, check=True, timeout=120).stdout


def searched(program: Path, keys: Tensor | Quantised, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Slots and scores, (memories, q, k), of the best of keys (memories, n, dim) for queries (memories, q, dim)."""
    (memories, n, dim), q = keys.shape, queries.shape[1]
    numbers = torch.tensor([memories, n, n, dim, q, k, DTYPES.index(keys.dtype)])
    stored = (keys.codes, keys.scale) if isinstance(keys, Quantised) else (keys,)
    sent = b"".join(each.contiguous().view(torch.uint8).numpy().tobytes() for each in (numbers, *stored, queries))
    said = answers(program, "aarch64", sent=sent)
    slots = torch.frombuffer(bytearray(said[: 8 * memories * q * k]), dtype=torch.int64)
    scores = torch.frombuffer(bytearray(said[8 * memories * q * k :]), dtype=torch.float32)
    return slots.view(memories, q, k), scores.view(memories, q, k)
