"""All there is to measure on a GPU in one call: python -m benchmarks.goals.gpu --out results.json; two minutes.

It first checks every kernel on the card, and exits with 1 if one is wrong; then it prints each figure beside its goal.
``--dry`` does the same at tiny sizes in Triton's interpreter: its times mean nothing, but the script is known to work.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from memstack_exact.gpu import first_pass as gpu
from memstack_models.training import run_folder
from memstack_models.training.trainer import Trainer
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.goals.gpu_results import DRY, Figures, GpuGoals, Sizes
from memstack import MemoryShape
from memstack.cli import console
from memstack.measure.timing import time_call
from memstack.store import embedding_bag
from memstack.store.exact import nearest_slots

DATASHEET = {"H100 PCIe": 756, "H100": 989, "H200": 989, "GH200": 989, "B200": 2250, "A100": 312, "L40S": 362}
"""Teraflops of dense bfloat16 products; the first name that is part of the card's counts."""
PRECISIONS = {"bfloat16": 60.0, "int8": 100.0}
"""Goals, as percentages of the measured rate of bfloat16 products."""


def milliseconds(sizes: Sizes, call: Callable[[], object]) -> float:
    """The median of several calls, the first two of which choose and compile kernels and do not count."""
    return time_call(call, repeats=sizes.repeats, warm_up=2, device=sizes.device).median_ms


def unit(*size: int, device: str) -> Tensor:
    """Random directions: no bound prunes fewer keys than on these."""
    return normalize(torch.randn(*size, device=device), dim=-1)


def first_pass(keys: Tensor, precision: Any) -> Any:
    """A first pass that knows these (rows, heads, capacity, dim) keys."""
    rows, heads, capacity, dim = keys.shape
    shape = MemoryShape(rows=rows, heads=heads, key_dim=dim, value_dim=dim, capacity=capacity)
    made = gpu.GpuFirstPass(shape, keys.device, precision, keys.dtype)
    for row in range(rows):
        made.write(torch.tensor([row]), torch.arange(capacity)[None], keys[row : row + 1])
    return made


def check_search(sizes: Sizes, figures: Figures) -> None:
    """Count queries for which a key is missed that float64 finds, beyond the rounding of float32 sums."""
    n, k, device = sizes.checked, sizes.k, sizes.device
    for dim in (sizes.dim, sizes.dim // 2 + 8):
        plain = unit(1, 2, n, dim, device=device)
        sets = {"random": plain, "repeating": plain[:, :, torch.arange(n) % 7], "alike": plain[:, :, :1] + 1e-4 * plain}
        sets["of all lengths"] = plain * torch.logspace(-9, 9, n, device=device)[:, None]
        queries = unit(1, 2, min(sizes.queries, 100), dim, device=device)
        for (name, keys), precision in product(sets.items(), PRECISIONS):
            lengths = torch.tensor([n])
            slots = first_pass(keys, precision).search(keys, lengths, queries, k)
            scores = queries.double() @ keys.double().mT
            found = scores.gather(-1, slots.clamp(min=0)).masked_fill(slots < 0, -torch.inf)
            missing = scores.topk(k).values - found.sort(-1, descending=True).values
            rounding = dim * 2.0**-23 * keys.double().norm(dim=-1).amax()
            misses = int((missing > rounding).any(-1).sum())
            figures.check(f"queries that miss a key: {name}, d {dim}, {precision}", misses, most=0)


def check_bags(sizes: Sizes, figures: Figures) -> None:
    """Compare dot, mix and their gradients with float64."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        table = unit(sizes.checked, sizes.dim, device=sizes.device).to(dtype)
        index = torch.randint(sizes.checked, (sizes.queries, sizes.k), device=sizes.device)
        for function, width in ((embedding_bag.inner_products, sizes.dim), (embedding_bag.weighted_sum, sizes.k)):
            operand = unit(sizes.queries, width, device=sizes.device).requires_grad_()
            wide = operand.detach().double().requires_grad_()
            result = function(operand, table, index, lambda: None)
            equation = "nk,nkd->nd" if function is embedding_bag.weighted_sum else "nd,nkd->nk"
            truth = torch.einsum(equation, wide, table[index].double())
            grads = [torch.autograd.grad(each.square().sum(), at)[0] for each, at in ((result, operand), (truth, wide))]
            worst = max((result - truth).abs().max().item(), (grads[0] - grads[1]).abs().max().item())
            name = f"error of {function.__name__} and its gradient, {str(dtype).removeprefix('torch.')}"
            figures.check(name, worst, most=1e-4)


def matrix_rate(sizes: Sizes, figures: Figures, card: str) -> float:
    """Teraflops of a large bfloat16 product, which all rates are compared with."""
    one, other = (torch.randn(sizes.matrix, sizes.matrix, device=sizes.device).bfloat16() for _ in range(2))
    rate = 2e-9 * sizes.matrix**3 / milliseconds(sizes, lambda: one @ other)
    figures.add("bfloat16 product of large matrices", rate, "Tflop/s")
    if told := next((told for name, told in DATASHEET.items() if name in card), None):
        figures.add("the same, of what the datasheet says", 100 * rate / told, "%")
    return rate


def search_rates(sizes: Sizes, figures: Figures, rate: float) -> None:
    """Exact search of full memories: the pass over the keys alone, all of it, and torch's ways beside them."""
    from memstack_exact.gpu.launch import bucket_scores, question

    memories = sizes.rows, sizes.heads
    keys = unit(*memories, sizes.entries, sizes.dim, device=sizes.device)
    queries = unit(*memories, sizes.queries, sizes.dim, device=sizes.device)
    lengths = torch.full((sizes.rows,), sizes.entries)
    floor = 2e-9 * sizes.rows * sizes.heads * sizes.queries * sizes.entries * sizes.dim / rate
    for precision, goal in PRECISIONS.items():
        made = first_pass(keys, precision)
        stored = made._codes if made._codes is not None else keys
        asked = question(stored, made._scale, made._rounded(queries).codes, lengths, sizes.k)
        share = 100 * floor / milliseconds(sizes, lambda asked=asked: bucket_scores(asked))
        figures.add(f"{precision} pass over the keys, of the bfloat16 rate", share, "%", goal)
        in_full = gpu._search_in_full  # pyright: ignore[reportPrivateUsage] - how often it is needed counts
        with patch.object(gpu, "_search_in_full", wraps=in_full) as searches_in_full:
            whole = milliseconds(sizes, lambda made=made: made.search(keys, lengths, queries, sizes.k))
        again = sum(int(call.args[3].sum()) for call in searches_in_full.mock_calls)
        figures.add(f"{precision} pass, all of the search", whole, "ms")
        figures.add(f"{precision} pass, all of the search, of the bfloat16 rate", 100 * floor / whole, "%")
        figures.add(f"{precision} pass: queries searched in full after all", again, f"of {sizes.repeats + 2} searches")
    half, each = keys.bfloat16(), list(product(*map(range, memories)))
    inexact = milliseconds(sizes, lambda: [_topk(half[at], queries[at], sizes.k) for at in each])
    figures.add("torch: bfloat16 product and topk (not exact)", inexact, "ms")
    exact = milliseconds(sizes, lambda: nearest_slots(keys, lengths, queries, sizes.k))
    figures.add("torch: float32 product in blocks and top_k (exact)", exact, "ms")


def _topk(keys: Tensor, queries: Tensor, k: int) -> Tensor:
    return (queries.bfloat16() @ keys.mT).topk(k).indices


def bag_times(sizes: Sizes, figures: Figures) -> None:
    """dot, softmax, mix and their backward passes: these kernels beside torch's embedding bags."""
    count = sizes.rows * sizes.heads * sizes.entries
    index = torch.randint(count, (sizes.rows * sizes.heads * sizes.queries, sizes.k), device=sizes.device)
    queries = unit(index.shape[0], sizes.dim, device=sizes.device).requires_grad_()
    for dtype in (torch.float32, torch.bfloat16):
        table = unit(count, sizes.dim, device=sizes.device).to(dtype)

        def both(table: Tensor = table) -> None:
            weights = embedding_bag.inner_products(queries, table, index, lambda: None).softmax(-1)
            mixed = embedding_bag.weighted_sum(weights, table, index, lambda: None)
            torch.autograd.grad(mixed.square().sum(), queries)

        name = str(dtype).removeprefix("torch.")
        mine = milliseconds(sizes, both)
        with patch.object(embedding_bag, "_kernels", _always(None)):
            theirs = milliseconds(sizes, both)
        figures.add(f"dot, softmax, mix, forward and backward, {name} store", mine, "ms")
        figures.add(f"the same with torch's kernels, {name} store", theirs, "ms")


def _always(kernels: object) -> Callable[[Tensor], object]:
    """Stands in for the choice of kernels by where vectors are."""
    return lambda _: kernels


def step_times(sizes: Sizes, figures: Figures) -> None:
    """A training step of the paper's 200M model with a full memory over the same without one."""
    plain = _step(sizes, None)
    figures.add("training step without a memory", plain, "ms")
    for entries, goal in sizes.steps:
        with_memory = _step(sizes, entries)
        figures.add(f"training step with {entries:,} entries", with_memory, "ms")
        figures.add(f"the same over the step without, {entries:,} entries", with_memory / plain, "times", goal, True)
        if sizes.device == "cuda":
            figures.add(f"peak memory of that, {entries:,} entries", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def _step(sizes: Sizes, entries: int | None) -> float:
    """Milliseconds of a step; every memory is full of random unit keys."""
    memory = ["model.memory_layers=[]"] if entries is None else [f"memory.capacity={entries}", "memory.probe.every=0"]
    run = run_folder.recipe("paper-200m", [*sizes.model, *memory])
    length = (sizes.repeats + 4) * run.train.segment + 1  # no text ends while it is timed
    texts = list(torch.randint(sizes.vocabulary, (run.train.rows, length)))
    trainer = Trainer(run, Path(), sizes.vocabulary, texts, [], torch.ones(sizes.vocabulary, dtype=torch.int64))
    trainer.advance()
    for inside in (memory for stream in trainer.streams for memory in stream.bank.values()):
        chunk = (inside.shape.rows, inside.shape.heads, min(4096, inside.shape.capacity), inside.shape.key_dim)
        while int(inside.lengths.min()) < inside.shape.capacity:
            inside.add(unit(*chunk, device=sizes.device), torch.randn(*chunk, device=sizes.device))
    if sizes.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return milliseconds(sizes, trainer.advance)


def why_not() -> str:
    """What a GPU run lacks here, if anything."""
    if not torch.cuda.is_available():
        return "this needs a CUDA GPU of compute capability 8.0 or newer; --dry runs it at tiny sizes without one"
    shape = MemoryShape(rows=1, heads=1, key_dim=128, value_dim=128, capacity=1)
    reason = gpu.unavailable(shape, torch.device("cuda"))
    return f"this {reason}" if reason else ""


def main(
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Where to write the figures as JSON.")] = None,
    dry: Annotated[bool, typer.Option(help="Tiny sizes on the CPU, in Triton's interpreter.")] = False,
) -> None:
    """Check the GPU kernels, and measure them beside their goals."""
    if dry:  # before anything imports triton, which reads this once: imports within functions wait for it
        os.environ["TRITON_INTERPRET"] = "1"
    elif reason := why_not():
        typer.echo(reason, err=True)
        raise typer.Exit(1)
    sizes = DRY if dry else Sizes()
    import triton

    card = "none (dry run)" if dry else torch.cuda.get_device_name()
    typer.echo(f"{card}, torch {torch.__version__}, triton {triton.__version__}")
    torch.manual_seed(0)
    figures = Figures()

    from memstack.store import embedding_bag_triton

    # On a CPU, torch's kernels would be measured.
    with patch.object(embedding_bag, "_kernels", _always(embedding_bag_triton)) if dry else nullcontext():
        check_search(sizes, figures)
        check_bags(sizes, figures)
        rate = matrix_rate(sizes, figures, card)
        search_rates(sizes, figures, rate)
        bag_times(sizes, figures)
    step_times(sizes, figures)
    measured = tuple(figures.all)
    written = GpuGoals(card=card, torch=torch.__version__, triton=triton.__version__, sizes=sizes, figures=measured)
    console.write_record(out, written)
    if figures.failed:
        typer.echo(
            f"{figures.failed} checks failed: the kernels are wrong on this card, whatever their speed", err=True
        )
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
