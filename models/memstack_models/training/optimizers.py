"""Optimisers, learning-rate schedules, and their state as named tensors."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from memstack_models.training.config import TrainConfig


def create_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with decay on matrices only, or Adafactor as the paper used it (step relative to the parameter's size)."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate at a step, counted from 0: linear warm-up, then a cosine to a tenth, or 1/sqrt(step) as in the paper.

    For ``rsqrt`` the configured rate is the paper's: the rate is learning_rate / sqrt(step), its peak
    learning_rate / sqrt(warmup) (1.0 and 1000 steps in the paper: 0.0316).
    """
    warm = min(1.0, (step + 1) / config.warmup)
    if config.schedule == "rsqrt":
        return config.learning_rate * warm / math.sqrt(max(step + 1, config.warmup))
    done = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * min(1.0, done)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use this rate for every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def named_parameters(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's parameters in the order that the optimiser has them in."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(each)]: each for group in optimizer.param_groups for each in group["params"]}


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors as ``parameter.name``; rates and decays are configuration."""
    states, names = optimizer.state_dict()["state"], list(named_parameters(optimizer, model))
    return {
        f"{names[i]}.{name}": tensor
        for i, state in states.items()
        for name, tensor in state.items()
        if tensor is not None
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module, flat: Mapping[str, Tensor]) -> None:
    """Continue from a saved state."""
    numbers = {name: i for i, name in enumerate(named_parameters(optimizer, model))}
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        parameter, _, name = key.rpartition(".")
        states.setdefault(numbers[parameter], {})[name] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def state_shapes(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, tuple[int, ...]]:
    """The tensors that one of the optimisers above keeps for a parameter once it has stepped, by name."""
    shape = tuple(parameter.shape)
    if not isinstance(optimizer, torch.optim.Adafactor):
        return {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
    if len(shape) < 2:
        return {"step": (), "variance": shape}
    return {"step": (), "row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}
