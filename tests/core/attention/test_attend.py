"""attend: what a memory found, merged with local attention as plain softmax with every tensor spelled out would."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.attended import (
    DIM,
    HEADS,
    QUERY_HEADS,
    ROWS,
    SHAPE,
    TERMS,
    K,
    Q,
    asked,
    filled,
    learned,
    loop,
    numbers,
    per_head,
    written,
)
from helpers.list_memory import ListMemory
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

from memstack import (
    Memory,
    MemoryAttention,
    ShapeError,
    attend,
    local_attention,
    save_searches,
)
from memstack.attention.layer import Combine


@pytest.mark.parametrize("kept", [K, 10])
@pytest.mark.parametrize("names", TERMS.values(), ids=TERMS)
def test_it_is_softmax_over_what_is_found(names: tuple[str, ...], kept: int) -> None:
    """With an empty row, and one that holds less than is asked for; gradients included, of all that is learned."""
    memory, given, terms = filled(), asked(), learned(names)
    found, wanted = attend(memory, *given, kept, **terms).output, loop(memory, given, kept, **terms)
    inputs = [*given[: 2 if "gate" in names else 3], *terms.values()]
    gradients = [torch.autograd.grad(output.sin().sum(), inputs) for output in (found, wanted)]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("create", [filled, lambda: written(ListMemory(SHAPE))], ids=["stored", "fetched"])
@pytest.mark.parametrize("names", [("bias", "age"), ("gate", "age", "scale")])
def test_the_best_of_more_candidates_are_kept(create: Callable[[], Memory], names: tuple[str, ...]) -> None:
    """By the whole score, an entry's age included: an old one that is nearer by key gives way."""
    memory, given, terms = create(), asked(), learned(names)
    found = attend(memory, *given, 2, candidates=8, **terms).output
    wanted = loop(memory, given, 2, candidates=8, **terms)
    inputs = [given[0], *terms.values()]
    gradients = [torch.autograd.grad(output.sin().sum(), inputs) for output in (found, wanted)]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(found, attend(memory, *given, 2, **terms).output)


@pytest.mark.parametrize("names", TERMS.values(), ids=TERMS)
def test_gradients(names: tuple[str, ...]) -> None:
    memory, given, terms = filled(), asked(), learned(names)

    def output(queries: Tensor, local: Tensor, lse: Tensor, *values: Tensor) -> Tensor:
        # The queries move too little to change what is found.
        moved: dict[str, Any] = dict(zip(terms, values, strict=True))
        return attend(memory, queries, local, lse, K, **moved).output

    assert torch.autograd.gradcheck(output, (*given, *terms.values()), fast_mode=True)


@pytest.mark.parametrize("names", TERMS.values(), ids=TERMS)
def test_where_nothing_is_found_it_is_local_alone(names: tuple[str, ...]) -> None:
    given = asked()
    output, share = attend(filled(), *given, K, **learned(names))
    torch.testing.assert_close(output[2], given[1][2], rtol=0, atol=0)
    assert bool((share[2] == 0).all())
    assert bool(((share[:2] > 0) & (share[:2] < 1)).all())


def test_zeros_may_take_the_gates_share() -> None:
    given, gate = asked(), per_head(-1.0, 1.0)
    output, share = attend(filled(), *given, K, gate=gate, empty_memory="zeros")
    torch.testing.assert_close(output[2], given[1][2] * (1 - gate.sigmoid())[:, None, None])
    torch.testing.assert_close(share, gate.sigmoid()[:, None].expand(ROWS, QUERY_HEADS, Q))


@pytest.mark.parametrize("names", TERMS.values(), ids=TERMS)
def test_a_token_that_sees_nothing_has_what_was_retrieved_or_zero(names: tuple[str, ...]) -> None:
    """Whatever a kernel leaves in the output of such a token; and no gradient is NaN."""
    memory, terms = filled(), learned(names)
    queries, local, lse = asked()
    blind = torch.zeros(ROWS, QUERY_HEADS, Q, dtype=torch.bool)
    blind[:, :, 1] = True
    output, share = attend(
        memory, queries, local.masked_fill(blind[..., None], torch.nan), lse.masked_fill(blind, -torch.inf), K, **terms
    )
    assert bool((output[2, :, 1] == 0).all())
    if "gate" not in names:
        assert bool((share[:2, :, 1] == 1).all())
        assert bool((share[2, :, 1] == 0).all())
    (output.square().sum() + share.sum()).backward()
    gradients = [tensor.grad for tensor in (queries, local, *terms.values(), *([] if "gate" in names else [lse]))]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_memory_and_model_may_differ_in_dtype(stored: str, dtype: torch.dtype) -> None:
    """The output is in the local one's, with no more than its rounding; scores and sums are in float32 at least."""
    memory, given = filled(dtype=stored), asked(dtype)
    terms = {name: term.detach() for name, term in learned(("bias", "age")).items()}
    output, share = attend(memory, *given, K, **{name: term.to(dtype) for name, term in terms.items()})
    assert (output.dtype, share.dtype) == (dtype, torch.float32)
    wanted = loop(memory, [each.detach().double() for each in given], K, **terms)
    atol = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(output.double(), wanted, rtol=atol, atol=atol)
    output.sum().backward()
    assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in given)


def test_autocast_rounds_no_score() -> None:
    memory, given = filled(), asked(torch.float32)
    terms = {name: term.float() for name, term in learned(("bias", "age")).items()}
    with torch.autocast("cpu", torch.bfloat16):
        output = attend(memory, *given, K, **terms).output
    torch.testing.assert_close(output, attend(memory, *given, K, **terms).output, rtol=1e-6, atol=1e-6)


# Compiled, checkpointed ---------------------------------------------------------------------------------------------


def layer(combine: Combine) -> MemoryAttention:
    return MemoryAttention(QUERY_HEADS, neighbours=K, combine=combine, learn_scale=True, age=0.5, candidates=8).double()


def losses(memory: Memory, module: MemoryAttention, run: Callable[..., tuple[Tensor, Tensor]]) -> list[float]:
    """Three steps, between which the memory is written and a row reset."""
    optimizer, found = torch.optim.SGD(module.parameters(), lr=0.1), []
    for step in range(3):
        output, share = run(memory, *asked())
        loss = output.square().mean() + share.mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        memory.reset(torch.tensor([step == 1, False, False]))
        memory.add(numbers(ROWS, HEADS, 2, DIM, seed=30 + step), numbers(ROWS, HEADS, 2, DIM, seed=40 + step))
        found.append(loss.item())
    return found


@pytest.mark.parametrize("combine", ["joint", "gate"])
@pytest.mark.parametrize("create", [filled, lambda: written(ListMemory(SHAPE))], ids=["stored", "fetched"])
def test_compiled_it_is_one_graph_for_all_steps(combine: Combine, create: Callable[[], Memory]) -> None:
    """What was written is read at every step: neither a constant of the graph nor a reason to compile again."""
    compiling = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    plain, module = layer(combine), layer(combine)
    compiled = torch.compile(module, backend=compiling, fullgraph=True)
    expected = losses(create(), plain, plain)
    assert losses(create(), module, compiled) == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) == 3
    assert compiling.frame_count == 1


@pytest.mark.parametrize("combine", ["joint", "gate"])
@pytest.mark.parametrize("context", [{}, {"context_fn": save_searches}], ids=["all again", "searches kept"])
def test_checkpointed_it_has_the_same_gradients(combine: Combine, context: dict[str, Any]) -> None:
    module, memory, found = layer(combine), filled(), []

    def run(*given: Tensor) -> tuple[Tensor, Tensor]:
        local, lse = local_attention(*given)
        return module(memory, given[0], local, lse)

    for call in (run, lambda *given: checkpoint(run, *given, use_reentrant=False, **context)):
        others = (numbers(ROWS, QUERY_HEADS, Q, DIM, seed=20 + i).requires_grad_() for i in range(2))
        given = asked()[0], *others
        call(*given)[0].square().sum().backward()
        found.append([each.grad for each in (*given, *module.parameters())])
        module.zero_grad()
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_the_operators_of_ages_and_candidates_are_what_torch_expects() -> None:
    memory, columns = filled(), torch.zeros(ROWS, QUERY_HEADS, Q, 2, dtype=torch.int64)
    operators, handle = torch.ops.memstack, Memory.handle_of(memory)
    torch.library.opcheck(operators.written, (handle, columns))
    _, _, answer = operators.search(handle, asked()[0].detach(), K)
    for check in ("test_schema", "test_faketensor"):  # each answer has a handle of its own
        torch.library.opcheck(operators.take, (answer, columns, K), test_utils=check)


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"local": torch.zeros(ROWS, QUERY_HEADS, Q, 5)}, "local should be .*value_dim=6"),
        ({"lse": torch.zeros(ROWS, QUERY_HEADS, Q, 1)}, r"lse should be \(rows=3, query_heads=4, q=5\)"),
        ({"candidates": 3}, "candidates should be at least neighbours=4, which are chosen of them, got 3"),
        ({"gate": torch.zeros(2)}, r"gate should be a number or one per query head, \(4,\), got \(2,\)"),
        ({"age": torch.zeros(2)}, "age should be a number"),
        ({"queries": torch.zeros(ROWS, QUERY_HEADS, Q, 5)}, "queries should be .*key_dim=6"),
        ({"neighbours": 0}, "neighbours should be at least 1, got 0"),
        ({"neighbours": 0, "candidates": 5}, "neighbours should be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"neighbours": K, **dict(zip(("queries", "local", "lse"), asked(), strict=True)), **change}
    with pytest.raises(ShapeError, match=message):
        attend(filled(), **given)


def test_without_a_memory_the_module_is_local_attention_alone() -> None:
    given = asked()
    output, share = layer("gate")(None, *given)
    torch.testing.assert_close(output, given[1], rtol=0, atol=0)
    assert not share.any()


@pytest.mark.parametrize("combine", ["joint", "gate"])
def test_the_module_is_attend_with_what_it_learned(combine: Combine) -> None:
    module, memory, given = layer(combine), filled(), asked()
    assert module.log_scale is not None
    assert module.age is not None
    scale = 0.7 * module.log_scale.exp()
    terms: dict[str, Any] = {"gate" if combine == "gate" else "bias": module.bias, "age": module.age, "scale": scale}
    expected = attend(memory, *given, K, candidates=8, **terms)
    torch.testing.assert_close(tuple(module(memory, *given, scale=0.7)), tuple(expected), rtol=0, atol=0)
    assert {name for name, _ in module.named_parameters()} == {"bias", "log_scale", "age"}
    assert module.age.tolist() == [0.5] * QUERY_HEADS
