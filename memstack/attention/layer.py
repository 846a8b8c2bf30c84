"""MemoryAttention: attend() as a module that holds what is learned of it."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memstack.attention.merge import Attended, PerHead, attend
from memstack.contract.errors import OptionsError
from memstack.contract.memory import Memory

Combine = Literal["joint", "gate"]
EmptyMemory = Literal["local", "zeros"]


class MemoryAttention(nn.Module):
    """Merges a layer's local attention with attention to a memory; learns a bias per head, and more if asked to.

    ``combine="joint"`` is one softmax over local and retrieved scores, ``bias`` being added to the latter;
    ``combine="gate"`` gives the retrieved part sigmoid(bias), the paper's form (arXiv 2203.08913, section 3.2). Where a
    layer learns from scratch begin either at -4: entries that mean nothing yet would get most of its attention at 0.
    ``learn_scale`` learns, per head, what retrieved scores are multiplied with. ``age`` is the initial value, per head,
    of a learned factor on log(age): the more, the less weight an entry of long ago has; None leaves the term away.
    ``neighbours``, ``candidates``, ``empty_memory`` and ``largest_share`` are ``attend``'s.

    Raises:
        OptionsError: ``combine`` or ``empty_memory`` is neither of its words, ``neighbours`` is below 1, or
            ``largest_share`` not above 0 and at most 1.
    """

    def __init__(
        self,
        heads: int,
        *,
        neighbours: int = 32,
        combine: Combine = "joint",
        bias: float = 0.0,
        learn_scale: bool = False,
        age: float | None = None,
        candidates: int | None = None,
        empty_memory: EmptyMemory = "local",
        largest_share: float = 1.0,
    ) -> None:
        super().__init__()
        if combine not in ("joint", "gate"):
            raise OptionsError(f"combine should be 'joint' or 'gate', got {combine!r}")
        if neighbours < 1:
            raise OptionsError(f"neighbours should be at least 1, got {neighbours}")
        if empty_memory not in ("local", "zeros"):
            raise OptionsError(f"empty_memory should be 'local' or 'zeros', got {empty_memory!r}")
        if not 0 < largest_share <= 1:
            raise OptionsError(f"largest_share should be above 0 and at most 1, got {largest_share}")
        self.neighbours, self.combine, self.candidates = neighbours, combine, candidates
        self.largest_share = largest_share
        self.empty_memory: EmptyMemory = empty_memory
        self.bias = nn.Parameter(torch.full((heads,), float(bias)))
        self.log_scale = nn.Parameter(torch.zeros(heads)) if learn_scale else None
        self.age = nn.Parameter(torch.full((heads,), float(age))) if age is not None else None

    def forward(
        self,
        memory: Memory | None,
        queries: Float[Tensor, "rows query_heads q key_dim"],
        local: Float[Tensor, "rows query_heads q value_dim"],
        lse: Float[Tensor, "rows query_heads q"],
        scale: PerHead | None = None,
        *,
        seen: Int[Tensor, "rows q"] | None = None,
    ) -> Attended:
        """Return the merged output, in the local one's dtype, and the share of it that was retrieved.

        ``lse`` is the log-sum-exp of the local attention's scores and ``scale`` what they were multiplied with,
        1 / sqrt(key_dim) if not given, ``seen`` is ``attend``'s. Without a memory it is the local output alone.
        """
        if memory is None:
            return Attended(local, torch.zeros_like(lse))
        gated = self.combine == "gate"
        return attend(
            memory,
            queries,
            local,
            lse,
            self.neighbours,
            gate=self.bias if gated else None,
            scale=self._scale(queries, scale),
            bias=None if gated else self.bias,
            age=self.age,
            candidates=self.candidates,
            seen=seen,
            empty_memory=self.empty_memory,
            largest_share=self.largest_share,
        )

    def _scale(self, queries: Tensor, scale: PerHead | None) -> PerHead:
        given = queries.shape[-1] ** -0.5 if scale is None else scale
        return given if self.log_scale is None else given * self.log_scale.exp()

    def extra_repr(self) -> str:
        """Say what a print of the model should tell."""
        return f"heads={len(self.bias)}, neighbours={self.neighbours}, combine={self.combine}"
