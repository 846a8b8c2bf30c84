"""Triton's kernels are compiled for GPUs, which needs none: its interpreter takes what a compiler does not."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from memstack.store import embedding_bag_triton
from memstack_exact.gpu import kernels

TYPES = dict(
    keys="T", queries="T", scale="fp32", lengths="i64", bests="fp32", seconds="fp32", slack="fp32", listed="i64",
    scores="fp32", counts="i32", found="i64",
)
OPTIONS = dict(TILE=kernels.TILE, BUCKETS=1024, LIMIT=256, TILES_BLOCK=16)
ALIGNED = [["tt.divisibility", 16]]


def compiled(kernel, capability, operand, sizes, types, **options):
    types = {name: "*" + kind.replace("T", operand) for name, kind in types.items()}
    names = [parameter.name for parameter in kernel.params if not parameter.is_constexpr]
    signature = {name: types.get(name, "i32") for name in names} | dict.fromkeys(sizes, "constexpr")
    aligned = {(i,): ALIGNED for i, name in enumerate(names) if name in types or name in ("dim", "capacity")}
    source = ASTSource(kernel, signature, constexprs=sizes, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def fitting(kernel, **sizes):
    return {p.name: sizes[p.name] for p in kernel.params if p.is_constexpr}


capability = int(sys.argv[1])
for operand in ("i8", "bf16"):
    sizes = OPTIONS | {"SCALED": operand == "i8"}
    for config in kernels.bucket_maxima.configs:
        q_block, options = config.kwargs["Q_BLOCK"], {"num_warps": config.num_warps, "num_stages": config.num_stages}
        width = 256 if q_block == 64 else 128
        given = fitting(kernels.bucket_maxima.fn, **sizes, WIDTH=width, EVEN=q_block < 256, **config.kwargs)
        if config.num_stages == 2 and q_block != 128:
            made = compiled(kernels.bucket_maxima.fn, capability, operand, given, TYPES, **options)
            matrix = "wgmma" if capability >= 90 and q_block >= 64 else "mma.sync"
            assert matrix in made.asm["ptx"], (operand, config)
            # The widest keys have a tile that fits into what every GPU has.
            assert q_block != 64 or made.metadata.shared <= 101376, made.metadata.shared
    compiled(kernels.collect, capability, operand, fitting(kernels.collect, **sizes, WIDTH=128), TYPES)
compiled(kernels.pick, capability, "i8", fitting(kernels.pick, **OPTIONS), TYPES)
for stored, operand in (("fp32", "fp32"), ("bf16", "fp32"), ("fp16", "fp64")):
    types = dict(queries="T", weights="T", scores="T", mixed="T", vectors=stored, index="i64")
    for kernel in (embedding_bag_triton._dot, embedding_bag_triton._mix):
        compiled(kernel, capability, operand, fitting(kernel, SOME=32, WIDTH=128), types)
"""


@needs_triton
@pytest.mark.long
@pytest.mark.parametrize("capability", [80, 90])
def test_they_compile_for_gpus(capability: int, tmp_path: Path) -> None:
    """To machine code for NVIDIA's Ampere and Hopper, which needs no GPU; products run on the tensor cores."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    line = [sys.executable, "-c", COMPILE, str(capability)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
