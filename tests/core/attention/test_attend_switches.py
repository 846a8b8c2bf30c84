"""attend's switches: what is seen locally as well, a largest share, a gate of every query's own."""

from typing import Any

import pytest
import torch
from helpers.attended import (
    QUERY_HEADS,
    ROWS,
    TERMS,
    K,
    Q,
    asked,
    filled,
    learned,
    loop,
    numbers,
    per_head,
)

from memstack import ShapeError, attend


def of_all_rows(seen: list[int]) -> torch.Tensor:
    return torch.tensor(seen).expand(ROWS, -1)


@pytest.mark.parametrize("seen", [[0, 1, 2, 3, 4], [20, 0, 20, 3, 1]])
@pytest.mark.parametrize("candidates", [None, 8])
@pytest.mark.parametrize("names", [("bias", "age"), ("gate",), ("scale",)])
def test_what_is_seen_locally_does_not_count_again(
    names: tuple[str, ...], candidates: int | None, seen: list[int]
) -> None:
    """Where all that was found is seen anyway, it is local attention alone."""
    memory, given, terms = filled(), asked(), learned(names)
    found, share = attend(memory, *given, 2, candidates=candidates, seen=of_all_rows(seen), **terms)
    wanted = loop(memory, given, 2, candidates, seen, **terms)
    inputs = [given[0], *terms.values()]
    gradients = [torch.autograd.grad(output.sin().sum(), inputs) for output in (found, wanted)]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
    alone = [q for q, newest in enumerate(seen) if newest == 20]
    assert bool((share[:, :, alone] == 0).all())


def test_zeros_may_take_the_gates_share_of_what_is_seen_locally_too() -> None:
    """And never the values that do not count."""
    memory, given, seen = filled(), asked(), [20, 0, 20, 3, 1]
    gate = per_head(-1.0, 1.0)
    output = attend(memory, *given, 2, gate=gate, seen=of_all_rows(seen), empty_memory="zeros").output
    torch.testing.assert_close(output, loop(memory, given, 2, seen=seen, zeros=True, gate=gate))


def test_rows_may_see_different_numbers_of_entries() -> None:
    memory, given = filled(), asked()
    seen = torch.arange(ROWS * Q).view(ROWS, Q) % 5
    together = attend(memory, *given, 2, seen=seen).output
    for row in range(ROWS):
        alone = attend(memory, *given, 2, seen=seen[row].expand(ROWS, -1)).output
        torch.testing.assert_close(together[row], alone[row])


@pytest.mark.parametrize("names", TERMS.values(), ids=TERMS)
def test_a_largest_share_leaves_the_rest_to_what_is_near(names: tuple[str, ...]) -> None:
    memory, given, terms = filled(), asked(), learned(names)
    found, share = attend(memory, *given, K, largest_share=0.9, **terms)
    torch.testing.assert_close(found, loop(memory, given, K, largest_share=0.9, **terms), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(share, 0.9 * attend(memory, *given, K, **terms).share)


def test_a_gate_may_be_every_querys_own() -> None:
    memory, given = filled(), asked()
    gate = numbers(ROWS, QUERY_HEADS, Q, seed=11).requires_grad_()
    found, wanted = attend(memory, *given, K, gate=gate).output, loop(memory, given, K, gate=gate)
    gradients = [torch.autograd.grad(output.sin().sum(), [given[0], gate]) for output in (found, wanted)]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"gate": torch.zeros(ROWS, QUERY_HEADS, 2)}, "gate, if not one per head, should be"),
        ({"seen": torch.zeros(Q, dtype=torch.int64)}, "seen should be whole numbers, one per query"),
        ({"seen": torch.zeros(ROWS, Q)}, "seen should be whole numbers, one per query"),
        ({"seen": torch.zeros(ROWS, Q, dtype=torch.bool)}, "seen should be whole numbers, one per query"),
        ({"largest_share": 0.0}, "largest_share should be above 0 and at most 1, got 0.0"),
        ({"largest_share": 1.5}, "largest_share should be above 0 and at most 1, got 1.5"),
    ],
)
def test_a_term_that_does_not_fit_is_refused(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        attend(filled(), *asked(), K, **terms)
