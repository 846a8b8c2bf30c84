"""Tests that need a GPU at hand; ``make test-gpu`` runs them."""

import os

import pytest
import torch

on_card = pytest.mark.skipif(
    not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1",
    reason="this needs a CUDA device, and Triton's kernels compiled: make test-gpu",
)
