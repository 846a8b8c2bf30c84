"""An 8-bit copy of the keys: one pass over it leaves few of them to be scored in full, and provably all that matter.

A vector v is rounded to whole numbers c of a scale s of its own: v = s c + r. Of a query q and a key k, rounded alike,
|q k - s_q s_k c_q c_k| <= |q| |r_k| + |r_q| |s_k c_k|: a key whose rounded score lies further than that below the k-th
best true score found so far is not among the k best. The products are whole numbers; the loop over them, which never
stores them, is ``first_pass.cpp``.
"""

import functools
import hashlib
import os
import sys
import sysconfig
import warnings
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from memstack import BackendUnavailableError, MemoryShape
from memstack.disk_cache import cached

SOURCE = Path(__file__).with_suffix(".cpp")
NAME = "memstack_first_pass"
FLAGS = ["-O3", "-fopenmp-simd", "-ffp-contract=fast"]
TILE, WORD = 16, 4
"""Keys whose sums fill a register, and dimensions that one instruction multiplies and adds."""
SHIFT = 128
"""Added to the keys' codes: the instruction takes one of its factors unsigned."""
FLOAT_ERROR = 2.0**-23
"""Rounding of a float32 sum, for each of its terms, relative to the vectors' lengths."""


class Rounded(NamedTuple):
    """Vectors in 8 bits, and how far they are from what they were."""

    codes: Int[Tensor, "*outer dim"]
    scale: Float[Tensor, "*outer"]
    residual: Float[Tensor, "*outer"]
    """Length of what rounding took away."""
    norm: Float[Tensor, "*outer"]
    """Length of what is left."""


def rounded(vectors: Float[Tensor, "*outer dim"]) -> Rounded:
    """Round float32 vectors to whole numbers from -127 to 127 times a scale of their own."""
    scale = vectors.abs().amax(-1) / 127
    scale = scale.masked_fill(scale == 0, 1.0)
    codes = (vectors / scale[..., None]).round().clamp(-127, 127)
    kept = codes * scale[..., None]
    return Rounded(codes.to(torch.int8), scale, (vectors - kept).norm(dim=-1), kept.norm(dim=-1))


class FirstPass:
    """The codes of all memories' keys, by slot; rows x heads memories in order."""

    def __init__(self, shape: MemoryShape, device: torch.device | str = "cpu") -> None:
        if torch.device(device).type != "cpu":
            raise BackendUnavailableError(
                f"first_pass = 'int8' is for a store on a CPU, not on {device}: set it to 'none'"
            )
        self._kernel = kernel()
        self._heads, self._dim = shape.heads, shape.key_dim
        memories, tiles = shape.rows * shape.heads, -(-shape.capacity // TILE)
        self._groups = -(-shape.key_dim // WORD)
        self._codes = torch.full((memories, tiles, self._groups, TILE, WORD), SHIFT, dtype=torch.uint8)
        self._scale, self._residual, self._norm = (torch.zeros(memories, tiles * TILE) for _ in range(3))

    def write(
        self, rows: Int[Tensor, " some"], slots: Int[Tensor, "some n"], keys: Float[Tensor, "some heads n key_dim"]
    ) -> None:
        """Round keys and keep them at these slots of these rows, in all heads alike."""
        memories = (rows[:, None] * self._heads + torch.arange(self._heads))[..., None]
        at = slots[:, None]
        new = rounded(keys.float())
        codes = self._in_words(new.codes)
        self._codes[memories, at // TILE, :, at % TILE] = (codes.short() + SHIFT).to(torch.uint8)
        self._scale[memories, at] = new.scale
        # Sums are rounded as well; the bound holds for what is computed, not for what should be.
        self._residual[memories, at] = new.residual + FLOAT_ERROR * (self._dim + 8) * (new.norm + new.residual)
        self._norm[memories, at] = new.norm

    def search(
        self,
        keys: Float[Tensor, "rows heads capacity key_dim"],
        written: Int[Tensor, " rows"],
        queries: Float[Tensor, "rows heads q key_dim"],
        k: int,
    ) -> Int[Tensor, "rows heads q candidates"]:
        """Return slots among which are those of the k best of each row's keys, -1 for none.

        ``keys`` are the ring that was written to, in its dtype, and ``written`` counts how many keys each row was given
        since its last reset; queries are finite.
        """
        capacity = keys.shape[2]
        lengths, newest = written.clamp(max=capacity), (written - 1).clamp(min=0) % capacity
        asked = queries.flatten(0, 1).contiguous()
        new = rounded(asked)
        codes = self._in_words(new.codes).contiguous()
        slots = self._kernel.search(
            *(self._codes, self._scale, self._residual, self._norm),
            *(keys.flatten(0, 1), *(each.repeat_interleave(self._heads) for each in (lengths, newest))),
            *(asked, codes, new.scale, new.residual, new.norm + new.residual),
            SHIFT * codes.sum((-1, -2), dtype=torch.int32),
            k,
        )
        return slots.unflatten(0, queries.shape[:2])

    def _in_words(self, codes: Int[Tensor, "*outer dim"]) -> Int[Tensor, "*outer groups WORD"]:
        return pad(codes, (0, self._groups * WORD - self._dim)).unflatten(-1, (self._groups, WORD))


@functools.cache
def kernel() -> Any:
    """Load the loop, compiled once a machine, or say why it cannot run here: BackendUnavailableError."""
    version = hashlib.sha256(f"{SOURCE.read_text()} {FLAGS} {torch.__version__} {sys.version}".encode()).hexdigest()
    try:
        compiled = _loaded(cached(f"first-pass-{version}", _compiled))
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackendUnavailableError(
            f"first_pass = 'int8' is compiled at its first use, which failed ({reason}): it needs a C++ compiler and "
            "pip install 'memstack[fast]'; first_pass = 'none' needs neither"
        ) from error
    if not compiled.available():
        raise BackendUnavailableError(
            "first_pass = 'int8' needs a processor with AVX-512 VNNI, which this one is not; set it to 'none'"
        )
    return compiled


def _compiled() -> bytes:
    """The loop as a shared library, built in a folder of its own: processes that do so at once wait for no other."""
    from torch.utils import cpp_extension

    path = os.environ.get("PATH", "")
    # ninja may be installed beside this Python only, which need not be on the path.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), path])
    try:
        # Warnings are about compilers that torch does not know.
        with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            cpp_extension.load(NAME, [str(SOURCE)], extra_cflags=FLAGS, build_directory=folder)
            return (Path(folder) / f"{NAME}.so").read_bytes()
    finally:
        os.environ["PATH"] = path


def _loaded(library: bytes) -> Any:
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / f"{NAME}.so")
        Path(path).write_bytes(library)
        loader = ExtensionFileLoader(NAME, path)
        spec = spec_from_file_location(NAME, path, loader=loader)
        if spec is None:
            raise ImportError(f"{path} is no module")
        module = module_from_spec(spec)
        loader.exec_module(module)
        return module
