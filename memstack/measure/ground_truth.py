"""true_neighbours: what an exact search of any memory finds."""

import torch
from jaxtyping import Float
from torch import Tensor

from memstack.contract.ground_truth import nearest_in_state
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult


def true_neighbours(
    memory: Memory, queries: Float[Tensor, "rows query_heads q key_dim"], k: int, device: torch.device | str = "cpu"
) -> SearchResult:
    """Return what an exact search of this memory finds, computed on ``device`` from its ``state_dict`` alone."""
    return nearest_in_state(memory.state_dict(), queries, k, device)
