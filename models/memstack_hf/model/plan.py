"""Plan: which layers of a model remember, how much is in sight, what moves a key; settings and facts together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from memstack.contract.errors import OptionsError
from memstack.plugins.registry import backends
from memstack_hf.config import LongMemoryConfig
from memstack_hf.model.probe import AttachError, LayerFacts, attention_modules, check_model, native_context, probe

FAR = (0.4, 0.85)
"""The part of the depth whose layers look up well at a fixed distance; ``LongMemory.calibrate`` finds a model's own."""
IN_SIGHT = 512


@dataclass(frozen=True)
class Plan:
    """What a memory of one model does."""

    name: str
    modules: Mapping[int, nn.Module]
    facts: Mapping[int, LayerFacts]
    layers: tuple[int, ...]
    far_layers: tuple[int, ...]
    window: int
    segment: int
    distance: int
    native: int | None
    heads: int
    config: LongMemoryConfig

    @property
    def depth(self) -> int:
        """How many layers the model has."""
        return len(self.facts)

    @property
    def movable(self) -> bool:
        """Whether every layer's keys can be moved to other positions."""
        return all(facts.kind != "absolute" for facts in self.facts.values())

    @property
    def searching(self) -> tuple[int, ...]:
        """The layers that remember anything, at some time."""
        return self.far_layers if self.config.position == "fixed" else self.layers

    def capacity(self, layer: int) -> int:
        """How many tokens a layer remembers: of one that does not go on beyond it, no more than the native context."""
        most = self.config.capacity
        if layer not in self.searching:
            return 1  # it remembers nothing
        if self.config.position == "true" or layer in self.far_layers or self.native is None:
            return most
        return min(most, self.native)

    def options_for(self, device: torch.device) -> dict[str, Any]:
        """The backend's options; where it can work on the layer's device, it does unless told otherwise."""
        options = dict(self.config.options)
        spec = next((each for each in backends() if each.name == self.config.backend), None)
        if device.type != "cpu" and spec is not None and device.type in spec.devices and "device" not in options:
            options["device"] = str(device)
        return options

    def turned(self, layer: int, keys: Tensor, offsets: Tensor) -> Tensor:
        """A layer's keys, moved by so many positions (rows, n)."""
        rotation = self.facts[layer].rotation
        if rotation is None or not bool(offsets.any()):
            return keys
        return rotation.turned(keys, offsets)

    def too_long(self) -> AttachError:
        """What to say of a text that outgrows positions which cannot be moved."""
        return AttachError(
            f"{self.name} has positions of its own up to {self.native}, which cannot be moved, so that this is all it "
            "can read; reset() the memory to begin another text"
        )

    def with_far(self, layers: tuple[int, ...]) -> "Plan":
        """The same with other far layers."""
        return replace(self, far_layers=layers)


def plan_for(model: Any, config: LongMemoryConfig) -> Plan:
    """Probe a model and check that these settings suit it."""
    check_model(model)
    facts, text = probe(model), model.config.get_text_config()
    name, native = type(model).__name__, native_context(text)
    layers = _layers(name, facts, config)
    window, segment = _in_sight(facts, layers, config, native)
    plan = Plan(
        name=name,
        modules=attention_modules(model),
        facts=facts,
        layers=layers,
        far_layers=_far_layers(len(facts), layers, config),
        window=window,
        segment=segment,
        distance=config.distance or window + segment,
        native=native,
        heads=int(text.num_attention_heads),
        config=config,
    )
    _check_positions(plan)
    return plan


def _layers(name: str, facts: Mapping[int, LayerFacts], config: LongMemoryConfig) -> tuple[int, ...]:
    whole = tuple(layer for layer, fact in facts.items() if fact.sliding is None)
    if config.layers is not None:
        if unknown := [layer for layer in config.layers if layer not in facts]:
            raise OptionsError(f"layers: {name} has layers 0 to {len(facts) - 1}, got {unknown}")
        return tuple(sorted(config.layers))
    if not whole:
        widths = sorted({fact.sliding for fact in facts.values() if fact.sliding is not None})
        raise AttachError(
            f"every layer of {name} sees no more than {widths} tokens (sliding attention); a memory changes what they "
            "see, so name those that should have one: layers=[...]"
        )
    return whole


def shown(layers: Iterable[int]) -> str:
    """Layers in ascending order as 3, 7, 11-25."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _far_layers(depth: int, layers: tuple[int, ...], config: LongMemoryConfig) -> tuple[int, ...]:
    if config.far_layers is not None:
        if missing := sorted({*config.far_layers} - {*layers}):
            raise OptionsError(f"far_layers {shown(missing)} have no memory; layers with one are {shown(layers)}")
        return tuple(sorted(config.far_layers))
    if config.layers is not None:
        return layers
    within = tuple(layer for layer in layers if FAR[0] * depth < layer + 1 <= FAR[1] * depth)
    return within or layers


def _in_sight(
    facts: Mapping[int, LayerFacts], layers: tuple[int, ...], config: LongMemoryConfig, native: int | None
) -> tuple[int, int]:
    """How long window and segment are."""
    left_alone = [fact.sliding for layer, fact in facts.items() if fact.sliding is not None and layer not in layers]
    widest = max(left_alone, default=0)
    usual = IN_SIGHT if native is None else max(1, min(IN_SIGHT, native // 4))
    window = max(usual, widest) if config.window is None else config.window
    if window < widest:
        raise OptionsError(
            f"window: layers without a memory see {widest} tokens (sliding attention), so at least that many have to "
            f"stay in sight; got {window}"
        )
    return window, config.segment or min(window, IN_SIGHT) or usual


def _check_positions(plan: Plan) -> None:
    config, native = plan.config, plan.native
    if config.position == "fixed" and not plan.movable:
        raise AttachError(
            f"{plan.name} has positions that cannot be moved, so that no key can stand at a fixed distance: "
            "position='true' reads texts up to its native context"
        )
    if native is not None and config.sinks + plan.window + plan.segment > native:
        raise OptionsError(
            f"window: sinks, window and segment, {config.sinks} + {plan.window} + {plan.segment} tokens, should fit "
            f"the {native} positions that {plan.name} was trained with"
        )
