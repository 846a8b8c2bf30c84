"""The libraries live in one process, whatever the order in which they were imported and used.

torch, faiss and others bring an OpenMP, a BLAS or a thread pool of their own, and the one that is loaded first may
serve the next one's calls; what does not fit crashes or hangs at use, with threads. A crash ends the process, so every
order needs a process of its own, some five seconds of it. Of the 120 orders of five libraries, two are run by
default: among them every order of any two occurs. ``make test-all`` has every order of any three, and
``IMPORT_ORDERS=all`` runs the 120.
"""

import importlib.util
import inspect
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

LIBRARIES = ("torch", "faiss", "scann", "jax", "hnswlib")


def use_torch() -> None:
    import torch

    torch.set_num_threads(2)
    keys = torch.nn.functional.normalize(torch.randn(1024, 32, requires_grad=True), dim=-1)
    scores = keys @ keys.T
    assert torch.equal(scores.topk(4).indices[:, 0], torch.arange(1024))
    scores.exp().sum().backward()


def use_faiss() -> None:
    import faiss

    keys = unit_keys()
    faiss.omp_set_num_threads(2)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(32), 32, 8, faiss.METRIC_INNER_PRODUCT)
    index.train(keys)
    index.add(keys)
    assert (index.search(keys, 4)[1][:, 0] == range(1024)).all()


def use_scann() -> None:
    import scann

    pybind: Any = scann.scann_ops_pybind
    keys = unit_keys()
    builder = pybind.builder(keys, 4, "dot_product").set_n_training_threads(2)
    searcher = builder.tree(8, 8).score_ah(2).reorder(64).build()
    assert (searcher.search_batched_parallel(keys)[0][:, 0] == range(1024)).mean() > 0.9


def use_jax() -> None:
    import jax

    keys = unit_keys()
    best = jax.jit(lambda keys: jax.lax.approx_max_k(keys @ keys.T, 4)[1])(keys)
    assert (best[:, 0] == jax.numpy.arange(1024)).all()


def use_hnswlib() -> None:
    import hnswlib

    keys = unit_keys()
    index = hnswlib.Index(space="ip", dim=32)
    index.init_index(1024, M=8, ef_construction=32)
    index.add_items(keys, num_threads=2)
    assert (index.knn_query(keys, k=4, num_threads=2)[0][:, 0] == range(1024)).mean() > 0.9


def unit_keys() -> Any:
    import numpy

    keys = numpy.random.default_rng(0).standard_normal((1024, 32)).astype("float32")
    return keys / numpy.linalg.norm(keys, axis=1, keepdims=True)


USES = {"torch": use_torch, "faiss": use_faiss, "scann": use_scann, "jax": use_jax, "hnswlib": use_hnswlib}


def run_in_order(order: Sequence[str]) -> None:
    """Import the libraries in this order in a new process, then use each in this order and the reverse."""
    imports = [*(f"import {name}" for name in order), "from typing import Any"]
    sources = [inspect.getsource(function) for function in (unit_keys, *(USES[name] for name in order))]
    calls = [f"use_{name}()" for name in (*order, *reversed(order))]
    environment = {name: value for name, value in os.environ.items() if name != "KMP_DUPLICATE_LIB_OK"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", "\n".join(imports + sources + calls)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, f"{' '.join(order)}: exit code {done.returncode}\n{done.stderr}"


def threes(order: Sequence[str]) -> set[tuple[str, ...]]:
    """The orders in which any three of them come here, whatever lies between."""
    return set(itertools.combinations(order, 3))


def covering() -> list[tuple[str, ...]]:
    """Few orders that have any three libraries in every order: always the one that adds the most."""
    chosen: list[tuple[str, ...]] = []
    left = set(itertools.permutations(LIBRARIES, 3))
    while left:
        chosen.append(max(ALL_ORDERS, key=lambda order: len(left & threes(order))))
        left -= threes(chosen[-1])
    return chosen


ALL_ORDERS = list(itertools.permutations(LIBRARIES))
ORDERS = ALL_ORDERS if os.environ.get("IMPORT_ORDERS") == "all" else [LIBRARIES, LIBRARIES[::-1], *covering()]


def installed(names: Sequence[str]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is not None]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_works_alone(name: str) -> None:
    if not installed([name]):
        pytest.skip(f"{name} is not installed, so that the orders are tested without it")
    run_in_order([name])


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, id="-".join(order), marks=pytest.mark.long if place > 1 else ())
        for place, order in enumerate(ORDERS)
    ],
)
def test_the_libraries_work_together_in_any_order(order: tuple[str, ...]) -> None:
    present = installed(order)
    if len(present) < 2:
        pytest.skip(f"of {', '.join(LIBRARIES)} only {', '.join(present) or 'none'} is installed")
    run_in_order(present)


def test_every_order_of_three_is_among_those_run() -> None:
    assert set().union(*map(threes, covering())) == set(itertools.permutations(LIBRARIES, 3))
    assert len(covering()) == 8
