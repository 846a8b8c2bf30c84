"""local_attention: torch's kernels and plain math alike are softmax attention, gradients through both outputs too."""

from typing import Any

import pytest
import torch
from torch import Tensor

from memstack import ShapeError, local_attention
from memstack.attention import kernels

ROWS, HEADS, DIM = 2, 4, 6


@pytest.fixture(params=["kernel", "blocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Torch's kernel, or what stands in where there is none; that in blocks of two queries."""
    if request.param == "blocks":
        monkeypatch.setattr(kernels, "KERNELS", {})
        monkeypatch.setattr(kernels, "SCORES", 2 * ROWS * HEADS * 5)
    return request.param


def inputs(
    q: int = 5, n: int = 5, heads: int = HEADS, dtype: torch.dtype = torch.float64, dim: int = DIM
) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    sizes = ((HEADS, q), (heads, n), (heads, n))
    made = (torch.randn(ROWS, *size, dim, generator=random, dtype=torch.float64) for size in sizes)
    queries, keys, values = (each.to(dtype).requires_grad_() for each in made)
    return queries, keys, values


def expected(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: Tensor | float,
    bias: Tensor | float = 0.0,
    mask: Tensor | None = None,
    causal: bool = True,
) -> tuple[Tensor, Tensor]:
    """In float64, with every tensor spelled out; nothing may be hidden from a query altogether."""
    queries, keys, values = (each.double() for each in (queries, keys, values))
    shared = queries.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(shared, 1), values.repeat_interleave(shared, 1)
    scores = torch.einsum("rhqd,rhnd->rhqn", queries, keys) * scale + bias
    q, n = scores.shape[2:]
    visible = torch.tensor([[j - (n - q) <= i or not causal for j in range(n)] for i in range(q)])
    scores = scores.masked_fill(~(visible if mask is None else visible & mask), -torch.inf)
    return torch.einsum("rhqn,rhnd->rhqd", scores.softmax(-1), values), scores.logsumexp(-1)


def agrees(
    found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], inputs: tuple[Tensor, ...], atol: float
) -> None:
    """Both outputs, and the gradients of a function that bends them both."""
    gradients = [
        torch.autograd.grad(output.double().sin().sum() + lse.double().cos().sum(), inputs)
        for output, lse in (found, wanted)
    ]
    for one, other in zip((*found, *gradients[0]), (*wanted, *gradients[1]), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=atol, atol=atol)


@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize(("n", "causal"), [(5, True), (5, False), (8, True), (8, False), (3, False)])
def test_it_is_softmax_attention(way: str, heads: int, n: int, causal: bool) -> None:
    """Grouped queries and a cache before the segment included."""
    tensors = inputs(n=n, heads=heads)
    found = local_attention(*tensors, causal=causal)
    agrees(found, expected(*tensors, DIM**-0.5, causal=causal), tensors, 1e-12)


def test_gradients_through_either_output_and_both(way: str) -> None:
    tensors = inputs(q=3, n=3, dim=2)
    for part in (lambda both: both, lambda both: both[0], lambda both: both[1]):
        assert torch.autograd.gradcheck(lambda *each, part=part: part(local_attention(*each)), tensors, fast_mode=True)


def test_a_learned_scale_per_head_a_bias_and_a_mask_have_gradients_and_places() -> None:
    tensors, n = inputs(n=7), 7
    scale = torch.linspace(0.5, 2, HEADS, dtype=torch.float64).requires_grad_()
    bias = torch.randn(HEADS, 5, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.rand(ROWS, 1, 5, n, generator=torch.Generator().manual_seed(2)) > 0.4
    mask[..., 0] = True
    spread = scale[:, None, None]
    cases: list[tuple[dict[str, Any], dict[str, Any], tuple[Tensor, ...]]] = [
        ({"scale": scale}, {"scale": spread}, (scale,)),
        ({"scale": scale, "bias": bias}, {"scale": spread, "bias": bias}, (scale, bias)),
        ({"scale": 2.0, "mask": mask}, {"scale": 2.0, "mask": mask}, ()),
        ({"scale": scale, "bias": bias, "mask": mask}, {"scale": spread, "bias": bias, "mask": mask}, (scale, bias)),
    ]
    for given, wanted, learned in cases:
        agrees(local_attention(*tensors, **given), expected(*tensors, **wanted), (*tensors, *learned), 1e-12)


@pytest.mark.parametrize("hides", ["mask", "bias", "very low bias", "causal"])
def test_a_query_that_sees_nothing_gives_zero_and_no_nan(hides: str) -> None:
    tensors = inputs(n=5 if hides != "causal" else 4)
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    mask[:, :, 0] = False
    low = -torch.inf if hides == "bias" else torch.finfo(torch.float32).min
    bias = torch.zeros(5, 5, dtype=torch.float64).masked_fill(~mask[0, 0], low)
    named: dict[str, dict[str, Any]] = {"mask": {"mask": mask}, "causal": {}}
    given = named.get(hides, {"bias": bias.requires_grad_()})
    output, lse = local_attention(*tensors, **given)
    assert bool((output[:, :, 0] == 0).all())
    assert bool(lse[:, :, 0].isneginf().all())
    assert bool(lse[:, :, 1:].isfinite().all())
    (output.sum() + lse.sigmoid().sum()).backward()
    gradients = [each.grad for each in (*tensors, *(given.values() if "bias" in given else ()))]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert gradients[0] is not None
    assert bool((gradients[0][:, :, 0] == 0).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_half_precision_loses_no_more_than_its_rounding(way: str, dtype: torch.dtype) -> None:
    tensors = inputs(dtype=dtype)
    output, lse = local_attention(*tensors)
    assert (output.dtype, lse.dtype) == (dtype, torch.float32)
    atol = {torch.float32: 1e-5}.get(dtype, 0.03)
    agrees((output, lse), expected(*tensors, DIM**-0.5), tensors, atol)


def test_a_bias_in_half_precision_hides_as_any_other() -> None:
    queries, keys, values = inputs(dtype=torch.float16)
    bias = torch.zeros(5, 5, dtype=torch.float16).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    output, lse = local_attention(queries, keys, values, bias=bias, causal=False)
    wanted = local_attention(queries, keys, values)
    torch.testing.assert_close(output, wanted[0], rtol=0.01, atol=0.01)
    torch.testing.assert_close(lse, wanted[1], rtol=0.01, atol=0.01)


def test_autocast_changes_no_kernel(way: str) -> None:
    tensors = inputs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = local_attention(*tensors)
    agrees(found, expected(*tensors, DIM**-0.5), tensors, 1e-5)


def test_a_wide_value_is_plain_math() -> None:
    queries, keys, _ = inputs()
    values = torch.randn(ROWS, HEADS, 5, 9, dtype=torch.float64).requires_grad_()
    agrees(
        local_attention(queries, keys, values),
        expected(queries, keys, values, DIM**-0.5),
        (queries, keys, values),
        1e-12,
    )


def test_no_tokens_are_no_error() -> None:
    queries, keys, values = (each[:, :, :0] for each in inputs())
    output, lse = local_attention(queries, keys, values)
    assert (output.shape, lse.shape) == ((ROWS, HEADS, 0, DIM), (ROWS, HEADS, 0))


def test_compiled_it_is_one_graph_with_the_same_gradients() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(local_attention, backend="aot_eager", fullgraph=True)
    scale = torch.linspace(0.5, 2, HEADS, dtype=torch.float64).requires_grad_()
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    options: list[dict[str, Any]] = [{}, {"scale": scale}, {"mask": mask, "causal": False}]
    for given in options:
        tensors = inputs(heads=2)
        agrees(compiled(*tensors, **given), local_attention(*tensors, **given), tensors, 1e-12)


def test_the_operators_are_what_torch_expects() -> None:
    tensors = inputs(q=3, n=3, dim=2)
    torch.library.opcheck(torch.ops.memstack.flash, (*tensors, 0.5, True))


def test_no_second_derivative_is_made_up() -> None:
    tensors = inputs()
    (gradient,) = torch.autograd.grad(local_attention(*tensors)[0].sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        gradient.sum().backward()


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose gradients forget the log-sum-exp's, as torch's own backward would."""

    def forgetful(grad: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        grad = grad.clone()
        grad[..., -1] = 0
        return kernels._cpu_backward(grad, *rest)

    monkeypatch.setattr(kernels, "KERNELS", {("cpu", torch.float64): (kernels._cpu, forgetful)})
    kernels.proved.cache_clear()
    tensors = inputs()
    with pytest.warns(UserWarning, match="attention kernel fails on cpu, plain math is used"):
        found = local_attention(*tensors)
    agrees(found, expected(*tensors, DIM**-0.5), tensors, 1e-12)
    kernels.proved.cache_clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": torch.zeros(2, 3, 5, 6)}, "values should be .*heads=3"),
        ({"keys": torch.zeros(2, 3, 5, 6), "values": torch.zeros(2, 3, 5, 6)}, "multiple of the keys' heads=3, got 4"),
        ({"keys": torch.zeros(2, 4, 5, 7)}, "keys should be .*key_dim=6"),
        ({"queries": torch.zeros(2, 5, 6)}, r"queries should be .*got \(2, 5, 6\)"),
        ({"scale": torch.ones(3)}, r"scale should be a number or one per query head, \(4,\), got \(3,\)"),
        (
            {"mask": torch.ones(5, 6, dtype=torch.bool)},
            r"mask should fit .*q=5, n=5\), got \(5, 6\)",
        ),
        ({"mask": torch.ones(5, 5)}, "mask should be bool, True where a query sees a key, got torch.float32"),
        ({"bias": torch.ones(3, 5, 5)}, r"bias should fit \(rows=2, query_heads=4, q=5, n=5\), got \(3, 5, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = dict(zip(("queries", "keys", "values"), inputs(), strict=True))
    with pytest.raises(ShapeError, match=message):
        local_attention(**given | change)


def test_half_precision_does_not_overflow_before_the_scale() -> None:
    large = torch.full((1, 1, 4, 64), 60.0, dtype=torch.float16)
    values = torch.randn(1, 1, 4, 64, generator=torch.Generator().manual_seed(0)).half()
    mask = torch.ones(4, 4, dtype=torch.bool)
    output, lse = local_attention(large, large, values, mask=mask)
    expected, expected_lse = local_attention(large.float(), large.float(), values.float(), mask=mask)
    torch.testing.assert_close(output.float(), expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(lse.float(), expected_lse, rtol=1e-2, atol=1e-2)


def test_functions_of_torch_func_go_through_it() -> None:
    """Gradients and batches of masked attention, as of any function."""
    queries, keys, values = (torch.randn(1, 2, 3, 4, dtype=torch.float64) for _ in range(3))
    mask = torch.ones(3, 3, dtype=torch.bool).tril()

    def total(queries: Tensor) -> Tensor:
        output, lse = local_attention(queries, keys, values, mask=mask, causal=False)
        return output.square().sum() + lse.sum()

    gradient = torch.func.grad(total)(queries)
    leaf = queries.clone().requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(total(leaf), leaf)[0])
    torch.testing.assert_close(torch.func.vmap(total)(queries[None]), total(queries)[None])
