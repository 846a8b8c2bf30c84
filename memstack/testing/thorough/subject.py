"""What is tried: a backend by its name, with options drawn or given, or whatever a callable makes of a shape."""

import math
import tempfile
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pydantic import BaseModel
from pydantic.types import PathType

from memstack.contract.errors import OptionsError
from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendOptions

SPAN = 400
"""How far above its lower bound a whole number is drawn that has no upper one; small ones are the likelier."""
LEFT = object()
"""An option that is left as it is: nobody can say what else it might be."""


@dataclass(frozen=True)
class Subject:
    """What is tried."""

    backend: str | Callable[[MemoryShape], Memory]
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Options that are always set."""

    @property
    def name(self) -> str:
        return self.backend if isinstance(self.backend, str) else getattr(self.backend, "__name__", "memory")

    @property
    def as_python(self) -> str:
        """How Python calls it."""
        return repr(self.backend) if isinstance(self.backend, str) else self.name

    @property
    def imports(self) -> list[str]:
        """How Python finds it: what another function made cannot be imported, and has to be at hand."""
        if isinstance(self.backend, str) or "<" in getattr(self.backend, "__qualname__", "<"):
            return []
        return [f"from {self.backend.__module__} import {self.name}"]

    def make(self, shape: MemoryShape, options: Mapping[str, Any]) -> Memory:
        """Make an empty memory."""
        if isinstance(self.backend, str):
            return registry().create(self.backend, shape, **options)
        return self.backend(shape)

    def is_exact(self, memory: Memory) -> bool:
        """Whether it has to find the true nearest neighbours."""
        return registry().spec(self.backend).exact if isinstance(self.backend, str) else memory.exact

    def options(self, number: int, random: Random) -> dict[str, Any]:
        """Return options: of every four the defaults, the spec's ``test_options``, and twice what is drawn."""
        if not isinstance(self.backend, str):
            return {}
        chosen = ({}, registry().spec(self.backend).test_options)[number % 4] if number % 4 < 2 else self._drawn(random)
        return {**chosen, **self.given}

    @property
    def model(self) -> type[BackendOptions]:
        """The backend's options; of a callable, none."""
        known = registry().backend_class(self.backend) if isinstance(self.backend, str) else None
        return getattr(known, "Options", BackendOptions)

    def _drawn(self, random: Random) -> dict[str, Any]:
        """Options that the backend accepts; its defaults if twenty draws gave none."""
        assert isinstance(self.backend, str)
        for _ in range(20):
            options = drawn_options(self.model, random)
            try:
                registry().options(self.backend, {**options, **self.given})
            except OptionsError:
                continue
            return options
        return {}


def drawn_options(model: type[BaseModel], random: Random) -> dict[str, Any]:
    """Draw some of a model's fields, within the bounds of each; whether they fit each other is for the model to say."""
    drawn = {
        name: _value(each.annotation, each.metadata, random)
        for name, each in model.model_fields.items()
        if random.random() < 0.5
    }
    return {name: value for name, value in drawn.items() if value is not LEFT}


def _value(annotation: Any, metadata: list[Any], random: Random) -> Any:
    """Draw a value of a type; ``LEFT`` for what is neither a number, a choice, a switch nor a folder."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _value(inside[0], [*metadata, *inside[1:]], random)
    if origin in (typing.Union, types.UnionType):
        return _value(random.choice(inside), metadata, random)
    if origin is typing.Literal:
        return random.choice(inside)
    if annotation is types.NoneType:
        return None
    if annotation is bool:
        return random.random() < 0.5
    if annotation in (int, float):
        return _number(annotation, metadata, random)
    return tempfile.gettempdir() if _may_be_folder(annotation, metadata) else LEFT


def _number(kind: type[int] | type[float], metadata: list[Any], random: Random) -> int | float:
    """Draw a number within its bounds, small ones the likelier."""
    step = 1 if kind is int else 0.01
    low = max([*_bounds(metadata, "ge", 0), *_bounds(metadata, "gt", step)], default=0)
    high = min([*_bounds(metadata, "le", 0), *_bounds(metadata, "lt", -step)], default=math.inf)
    span = min((high - low) / step, SPAN)
    drawn = low + step * (math.exp(random.uniform(0, math.log(span + 1))) - 1)
    return round(drawn) if kind is int else round(drawn, 3)


def _bounds(metadata: list[Any], name: str, beyond: float) -> list[float]:
    """The bounds of that name, as annotated types give them."""
    return [getattr(each, name) + beyond for each in metadata if getattr(each, name, None) is not None]


def folder_options(model: type[BaseModel]) -> list[str]:
    """The fields of a model that name a folder."""
    return [name for name, each in model.model_fields.items() if _may_be_folder(each.annotation, each.metadata)]


def _may_be_folder(annotation: Any, metadata: Sequence[Any]) -> bool:
    inside = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _may_be_folder(inside[0], [*metadata, *inside[1:]])
    if inside:
        return any(_may_be_folder(each, metadata) for each in inside)
    return any(isinstance(each, PathType) and each.path_type == "dir" for each in metadata)
