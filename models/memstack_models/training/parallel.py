"""How ranks share a model: each has all of it and they exchange gradients (ddp), or each keeps a part of it (fsdp)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from memstack import ConfigError
from memstack.plugins.config import MemoryConfig
from memstack_models.training.config import RunConfig, TrainConfig
from memstack_models.training.ranks import Ranks
from memstack_models.training.sizes import refuse_too_large
from memstack_models.transformer.transformer import Transformer

How = Literal["none", "ddp", "fsdp"]


def way_of(config: TrainConfig, ranks: Ranks) -> How:
    """How so many ranks share a model by the configuration; ConfigError if they cannot train by it."""
    if ranks.size == 1:
        return "none"
    rows, parts = config.rows // config.accumulation, config.accumulation
    if rows % ranks.groups:
        of = f" in each of {parts} parts (train.accumulation)" if parts > 1 else ""
        to = (
            f"{ranks.groups} groups of {ranks.alike} ranks (memory.shards)"
            if ranks.alike > 1
            else f"{ranks.size} ranks"
        )
        raise ConfigError(
            f"{rows} rows{of} cannot be dealt to {to} alike: set train.rows to a multiple of "
            f"{ranks.groups * parts}, or start another number of processes"
        )
    if config.parallel == "none":
        raise ConfigError(
            f"train.parallel is none, and {ranks.size} processes were started: set it to ddp or fsdp, or start one"
        )
    if config.parallel == "fsdp" and config.optimizer == "adafactor":
        raise ConfigError("adafactor needs whole matrices, fsdp parts them: set train.parallel to ddp, or use adamw")
    return "fsdp" if config.parallel == "fsdp" else "ddp"


def refuse_no_room(
    run: RunConfig, vocab_size: int, device: torch.device, memory: MemoryConfig | None, ranks: Ranks
) -> None:
    """TooLargeError if what a rank would hold for certain cannot fit; of a model in pieces nothing is known."""
    if way_of(run.train, ranks) != "fsdp":
        train = run.train.model_copy(update={"rows": run.train.rows // ranks.groups})
        refuse_too_large(run.model_copy(update={"train": train}), vocab_size, device, memory)


class SharedModel:
    """A model that ranks train together: ``forward`` is called where it is to learn, on its own device."""

    def __init__(self, model: Transformer, ranks: Ranks, how: How, device: torch.device) -> None:
        self._model, self._how = model, how
        self.forward: nn.Module = model
        if how == "fsdp":
            _shard(model, ranks, device)
        elif how == "ddp":
            from torch.nn.parallel import DistributedDataParallel

            # With this, gradients are added up in the same groups from the first step on: without it they are grouped
            # anew after one step, and a run that is resumed adds in another order.
            self.forward = DistributedDataParallel(_Learner(model), find_unused_parameters=True)

    def exchanging(self, last: bool) -> AbstractContextManager[Any]:
        """Around a forward and backward: of several in a step only the ``last`` exchanges what all have learned."""
        if self._how == "ddp" and not last:
            return cast(Any, self.forward).no_sync()
        return nullcontext()

    def clip(self, largest: float) -> Tensor:
        """Scale all gradients so that their norm, over ranks, is at most so much; returns what it was."""
        return whole(clip_grad_norm_(self._model.parameters(), largest))


class _Learner(nn.Module):
    """A model, and a parameter that nothing uses: DDP warns, past every filter, if it was to look for one in vain."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        device = model.embedding.weight.device
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float32, device=device))

    def forward(self, *given: Any) -> Any:
        return self.model(*given)


def _shard(model: Transformer, ranks: Ranks, device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (ranks.size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def is_piece(tensor: Tensor) -> bool:
    """Whether a tensor lies on several ranks, in parts along its first axis."""
    return hasattr(tensor, "to_local")


def here(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies on this rank: all of it, unless it is in pieces."""
    return cast(Any, tensor).to_local() if is_piece(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, put together from every rank if it is in pieces."""
    return cast(Any, tensor).full_tensor() if is_piece(tensor) else tensor


def span(tensor: Tensor, ranks: Ranks) -> tuple[int, int]:
    """Where on the first axis the part of a tensor in pieces begins and ends that is here."""
    longest = -(-len(tensor) // ranks.size)
    return min(ranks.rank * longest, len(tensor)), min((ranks.rank + 1) * longest, len(tensor))


def like(tensor: Tensor, part: Tensor) -> Tensor:
    """The tensor that has this part here, and lies on ranks as another does."""
    if not is_piece(tensor) or part.ndim == 0:
        return part
    from torch.distributed.tensor import DTensor

    of: Any = tensor
    return DTensor.from_local(
        part.to(tensor.device), of.device_mesh, of.placements, shape=tensor.shape, stride=tensor.stride()
    )
