"""Every tensor that shipped code makes says its dtype and its device: nothing depends on what the process has set."""

import pytest
from helpers.factories import all_findings, findings


def test_every_tensor_says_its_dtype_and_device() -> None:
    found = all_findings()
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("call", "lacks"),
    [
        ("torch.zeros(3)", "dtype and device"),
        ("torch.tensor([1.0], dtype=torch.float32)", "device"),
        ("torch.arange(3, device='cpu')", "dtype"),
        ("torch.FloatTensor(3)", "a factory's name"),
        ("torch.nn.Linear(3, 3).weight.copy_(torch.ones(3, 3))", "dtype and device"),
    ],
)
def test_what_is_left_out_is_found(call: str, lacks: str) -> None:
    (found,) = findings(f"def f():\n    return {call}\n", "some.py")
    assert str(found).endswith(f"without {lacks}")
    assert str(found).startswith("some.py:2: torch.")


@pytest.mark.parametrize(
    "call",
    [
        "torch.zeros(3, dtype=torch.float32, device='cpu')",
        "torch.zeros_like(x)",
        "x.new_zeros(3)",
        "nn.Parameter(torch.zeros(3))",
        "torch.zeros",
    ],
)
def test_what_says_both_or_takes_them_over_is_not(call: str) -> None:
    assert not list(findings(call, "some.py"))
