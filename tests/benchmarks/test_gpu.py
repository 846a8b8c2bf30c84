"""benchmarks/goals/gpu.py runs at tiny sizes, and where there is no GPU to run it in earnest it says so."""

import subprocess
import sys
from importlib.util import find_spec
from math import isfinite
from pathlib import Path

import pytest
import torch

from benchmarks.goals.gpu_results import DRY, GpuGoals

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "goals" / "gpu.py"


@pytest.mark.long
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_it_measures_everything_at_tiny_sizes(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    line = [sys.executable, str(SCRIPT), "--dry", "--out", str(out)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    written = GpuGoals.read(out)
    assert written.card == "none (dry run)"
    assert written.torch == torch.__version__
    assert written.sizes == DRY
    figures = {figure.name: figure for figure in written.figures}
    assert all(name in done.stdout and isfinite(figure.value) for name, figure in figures.items())
    checks = [figure for name, figure in figures.items() if name.startswith(("queries that miss", "error of"))]
    assert len(checks) == 22
    assert all(figure.met for figure in checks)
    goals = {figure.goal for figure in figures.values()}
    assert goals == {None, 0, 1e-4, 60, 100, 1.1, 1.35}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip().splitlines() == [
        "this needs a CUDA GPU of compute capability 8.0 or newer; --dry runs it at tiny sizes without one"
    ]
