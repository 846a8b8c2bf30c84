"""memstack.search: the memory's own answer, as operators; and models compiled over it, whatever the memory."""

import copy
from collections.abc import Callable

import pytest
import torch
from helpers.list_memory import ListMemory
from helpers.variants import variants
from memstack_models.transformer.cache import Cache
from memstack_models.transformer.config import ModelConfig
from memstack_models.transformer.transformer import SegmentOutput, Transformer
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from memstack import Memory, MemoryBank, MemoryShape, StaleResultError, create_memory, search
from memstack.contract import handles
from memstack.plugins.registry import registry
from memstack.wrappers.recall_probe import RecallProbe
from memstack.wrappers.timing import TimedMemory

SHAPE = MemoryShape(rows=2, heads=2, key_dim=32, value_dim=32, capacity=20)
SEGMENT, VOCABULARY, K = 8, 32, 4
INSTALLED = [spec.name for spec in registry().specs() if not spec.missing()]


def installed(name: str, **options: object) -> Memory:
    spec = registry().spec(name)
    return create_memory(name, SHAPE, **(dict(spec.test_options) | options))


MEMORIES: dict[str, Callable[[], Memory]] = {
    **{name: lambda name=name: installed(name) for name in INSTALLED},
    "with its own storage": lambda: ListMemory(SHAPE),
    "half precision": lambda: installed("exact", dtype="bfloat16"),
    "overlapping": lambda: installed("exact", overlap=True),
    "timed and probed": lambda: RecallProbe(TimedMemory(installed("exact")), every=2, scale=lambda: torch.tensor(3.0)),
}
OFTEN = [create for name, create in MEMORIES.items() if name in ("exact", "hnsw", "with its own storage")]
every_memory = pytest.mark.parametrize("create", MEMORIES.values(), ids=MEMORIES)


def numbers(*size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(dtype)


def filled(create: Callable[[], Memory], entries: int = 24) -> Memory:
    """A memory whose ring has wrapped, and whose second row has only begun."""
    memory = create()
    memory.add(numbers(2, 2, entries, 32, seed=1), numbers(2, 2, entries, 32, seed=2))
    memory.reset(torch.tensor([False, True]))
    memory.add(numbers(2, 2, 3, 32, seed=3), numbers(2, 2, 3, 32, seed=4))
    return memory


@every_memory
@pytest.mark.parametrize("query_heads", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_it_is_the_memorys_own_answer(create: Callable[[], Memory], query_heads: int, dtype: torch.dtype) -> None:
    memory, results = filled(create), []
    for ask in (memory.search, lambda queries, k: search(memory, queries, k)):
        queries = numbers(2, query_heads, 5, 32, dtype=dtype).requires_grad_()
        weights = numbers(2, query_heads, 5, K, seed=5, dtype=dtype).requires_grad_()
        found = ask(queries, K)
        again, others, mixed = found.dot(queries), found.dot(queries + 1), found.mix(weights)
        (again.sigmoid().sum() + others.sigmoid().sum() + mixed.sigmoid().sum()).backward()
        entries = found.scores, found.positions, found.mask, found.keys, found.values
        results.append([*entries, again, others, mixed, queries.grad, weights.grad])
    for own, answered in zip(*results, strict=True):
        torch.testing.assert_close(answered, own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_operators_are_what_torch_expects(dtype: torch.dtype) -> None:
    memory = filled(MEMORIES["exact"])
    queries = numbers(2, 4, 5, 32, dtype=dtype).requires_grad_()
    weights = numbers(2, 4, 5, K, dtype=dtype).requires_grad_()
    operators, handle = torch.ops.memstack, Memory.handle_of(memory)
    # The number of an answer is another each time, so its operator cannot be compared with itself.
    torch.library.opcheck(operators.search, (handle, queries.detach(), K), test_utils="test_schema")
    torch.library.opcheck(operators.search, (handle, queries.detach(), K), test_utils="test_faketensor")
    scores, _, answer = operators.search(handle, queries.detach(), K)
    if dtype == torch.float32:
        torch.library.opcheck(operators.scored, (answer, queries, scores))
    for keys in (True, False):
        torch.library.opcheck(operators.dot, (answer, queries, K, keys))
        torch.library.opcheck(operators.mix, (answer, weights, 32, keys))


@every_memory
@pytest.mark.parametrize("change", ["add", "reset"])
def test_a_stale_answer_is_refused(create: Callable[[], Memory], change: str) -> None:
    memory = filled(create)
    queries, weights = numbers(2, 2, 5, 32).requires_grad_(), numbers(2, 2, 5, K).requires_grad_()
    found = search(memory, queries, K)
    results = found.dot(queries), found.dot(queries + 1), found.mix(weights)
    if change == "add":
        memory.add(numbers(2, 2, 1, 32), numbers(2, 2, 1, 32))
    else:
        memory.reset()
    readings = [lambda: found.dot(queries), lambda: found.dot(queries + 1), lambda: found.mix(weights)]
    readings += [lambda: found.keys, lambda: found.values, *(result.sum().backward for result in results)]
    for read in readings:
        with pytest.raises(StaleResultError):
            read()


def test_an_answer_is_kept_no_longer_than_it_is_used() -> None:
    memory, before = filled(MEMORIES["exact"]), len(handles._OBJECTS)
    queries = numbers(2, 2, 5, 32).requires_grad_()
    found = search(memory, queries, K)
    mixed = found.mix(found.dot(queries).softmax(-1))
    del found
    assert len(handles._OBJECTS) == before + 1  # backward will read it
    mixed.sum().backward()
    del mixed
    assert len(handles._OBJECTS) == before


def test_scores_are_those_of_the_queries_as_they_are() -> None:
    """Also when they were changed in place since the search, which is no other tensor."""
    memory = filled(MEMORIES["exact"])
    queries = numbers(2, 2, 5, 32)
    found = search(memory, queries, K)
    queries.mul_(2)
    torch.testing.assert_close(found.dot(queries), memory.search(queries, K).dot(queries))


def test_an_answer_outlives_its_number_where_backward_keeps_copies() -> None:
    memory = filled(MEMORIES["exact"])
    queries = numbers(2, 2, 5, 32).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda kept: kept):
        found = search(memory, queries, K)
        mixed = found.mix(found.dot(queries).softmax(-1)).sum()
    del found
    mixed.backward()
    assert queries.grad is not None
    assert bool(queries.grad.abs().sum() > 0)


def test_a_copy_is_another_memory() -> None:
    memory = filled(MEMORIES["exact"])
    twin = copy.deepcopy(memory)
    memory.reset()
    assert not search(memory, numbers(2, 2, 5, 32), K).mask.any()
    assert search(twin, numbers(2, 2, 5, 32), K).mask.any()


# Compiled -----------------------------------------------------------------------------------------------------------


def model(**overrides: object) -> Transformer:
    torch.manual_seed(0)
    config = {"preset": "tiny", "memory_layers": [2], "cache": 4, "combine": "joint"} | overrides
    return Transformer(ModelConfig.model_validate(config), VOCABULARY, neighbours=K)


def losses(plain: Transformer, run: Callable[..., tuple[Tensor, SegmentOutput]], bank: MemoryBank) -> list[float]:
    """Six steps of gradient descent over three documents: one ends half-way. The memories are empty, and then wrap."""
    cache, losses = Cache(plain.config, SHAPE.rows), []
    tokens = torch.randint(VOCABULARY, (SHAPE.rows, 6 * SEGMENT), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(plain.parameters(), lr=1e-4)
    for step, segment in enumerate(tokens.split(SEGMENT, dim=1)):
        for each in (cache, bank):
            each.reset(torch.tensor([step == 4, False]))
        logits, new = run(segment, bank, cache)
        loss = logits.logsumexp(-1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        cache.add(new.layers)
        bank.commit(new.of_layers(bank.layers))
        losses.append(loss.item())
    return losses


def stores(plain: Transformer, create: Callable[[], Memory]) -> MemoryBank:
    return MemoryBank({layer: create() for layer in plain.config.memory_layers})


@pytest.mark.parametrize(
    ("combine", "kv_heads"),
    variants([("joint", 1), ("joint", 2), ("gate", 1), ("gate", 2)], [("joint", 1)]),
)
def test_a_compiled_model_has_the_same_losses(combine: str, kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one graph, compiled once for all steps; the operators are torch's own, so that they agree to the bit."""
    shape = MemoryShape(**{**vars(SHAPE), "heads": kv_heads})
    overrides = {"combine": combine, "kv_heads": kv_heads, "memory_layers": [1, 2]}
    plain, other = model(**overrides), model(**overrides)
    compiling = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    compiled = torch.compile(other, backend=compiling, fullgraph=True)
    expected = losses(plain, plain, stores(plain, lambda: create_memory("exact", shape)))
    assert losses(other, compiled, stores(other, lambda: create_memory("exact", shape))) == expected
    assert compiling.frame_count == 1
    assert losses(other, compiled, stores(other, lambda: create_memory("exact", shape))) != expected  # it has learned
    assert compiling.frame_count == 1  # new memories of one class compile nothing


@pytest.mark.parametrize("create", variants(MEMORIES.values(), OFTEN), ids=MEMORIES)
def test_whatever_the_memory(create: Callable[[], Memory]) -> None:
    plain, other = model(), model()
    compiling = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    compiled = torch.compile(other, backend=compiling, fullgraph=True)
    expected = losses(plain, plain, stores(plain, create))
    assert losses(other, compiled, stores(other, create)) == pytest.approx(expected, rel=1e-5)
    assert compiling.frame_count == 1


@pytest.mark.long
def test_inductors_losses() -> None:
    """Its kernels sum in another order: equal to rounding. (Untrained smeared keys of "ab" and "ba" would be ties.)"""
    plain, other = (model(layers=1, memory_layers=[1], smear_keys=False) for _ in range(2))
    torch._dynamo.reset()
    compiled = torch.compile(other, fullgraph=True, dynamic=False)
    expected = losses(plain, plain, stores(plain, MEMORIES["exact"]))
    assert losses(other, compiled, stores(other, MEMORIES["exact"])) == pytest.approx(expected, rel=1e-5)
