"""What the GPU's goals keep: the sizes that were measured, and the figures."""

from typing import Literal

import typer

from memstack.plugins.config import Frozen
from memstack.plugins.records import Record


class Sizes(Frozen):
    """What is measured; the axes are those of the memory."""

    device: str = "cuda"
    matrix: int = 8192
    rows: int = 4
    heads: int = 8
    entries: int = 65536
    queries: int = 512
    dim: int = 128
    k: int = 32
    checked: int = 5000
    steps: tuple[tuple[int, float], ...] = ((8192, 1.10), (65536, 1.35), (262144, 2.0))
    """Entries of the model's memory, and the goal for its step over that of the same model without one."""
    model: tuple[str, ...] = ("train.rows=8", "train.accumulation=1", "train.device=cuda")
    vocabulary: int = 32000
    repeats: int = 7


DRY = Sizes(
    device="cpu",
    matrix=64,
    rows=1,
    heads=2,
    entries=200,
    queries=3,
    dim=32,
    k=4,
    checked=80,
    steps=((64, 1.10), (128, 1.35)),
    model=("model.preset=tiny", "train.rows=2", "train.segment=32", "train.accumulation=1", "train.device=cpu"),
    vocabulary=64,
    repeats=1,
)


class Figure(Frozen):
    """One figure, beside its goal where it has one."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    met: bool | None = None


class GpuGoals(Record):
    """What ``gpu.py`` writes."""

    kind: Literal["gpu-goals"] = "gpu-goals"
    card: str
    torch: str
    triton: str
    sizes: Sizes
    figures: tuple[Figure, ...]


class Figures:
    """What was measured; printed as it comes."""

    def __init__(self) -> None:
        self.all: list[Figure] = []
        self.failed = 0

    def add(self, name: str, value: float, unit: str, goal: float | None = None, below: bool = False) -> None:
        """Note a figure; it has to reach its goal, or to stay ``below`` it."""
        met = None if goal is None else bool(value <= goal if below else value >= goal)
        self.all.append(Figure(name=name, value=value, unit=unit, goal=goal, met=met))
        beside = "" if goal is None else f"goal {goal:g}: {'met' if met else 'MISSED'}"
        typer.echo(f"{name:<58} {value:>12,.4g} {unit:<28} {beside}")

    def check(self, name: str, value: float, most: float) -> None:
        """Note how far a kernel is from the truth, and whether that is too far."""
        self.add(name, value, "", goal=most, below=True)
        self.failed += not self.all[-1].met
