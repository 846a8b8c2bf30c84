"""LongMemoryConfig: the settings of a memory for a Hugging Face model."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from memstack.contract.errors import OptionsError
from memstack.plugins.config import Frozen, StoreConfig, first_problem

Position = Literal["auto", "true", "fixed"]
MOST = 2**40


class LongMemoryConfig(Frozen):
    """How much a model remembers, where, and how it looks it up; lengths are in tokens."""

    backend: Annotated[str, Field(min_length=1)] = "exact"
    """Name of a registered backend; ``memstack backends`` lists them."""
    capacity: Annotated[int, Field(gt=0, lt=2**62)] = 65_536
    """Tokens a layer remembers, per row; the oldest leave first."""
    neighbours: Annotated[int, Field(gt=0, le=2**16)] = 32
    """Remembered tokens that a query attends to (k)."""
    layers: tuple[int, ...] | None = None
    """Layers that have a memory; by default all that attend to their whole context, of which ``far_layers`` go on
    beyond the native context."""
    far_layers: tuple[int, ...] | None = None
    """Those of ``layers`` that search at a fixed distance; by default the ones from 40 to 85 % of the depth."""
    position: Position = "auto"
    """Where a remembered key stands for its query: ``true``, where it was read; ``fixed``, at ``distance``; ``auto``,
    where it was read while a row's text fits the native context, which the model was trained with, and at ``distance``
    afterwards."""
    distance: Annotated[int, Field(gt=0, lt=MOST)] | None = None
    """How far back a key stands under ``fixed``; by default ``window + segment``."""
    window: Annotated[int, Field(ge=0, lt=MOST)] | None = None
    """Tokens before the segment at hand that every layer sees; by default 512, or what a sliding layer sees if that is
    more, and a quarter of a native context of less than 2,048."""
    segment: Annotated[int, Field(gt=0, lt=MOST)] | None = None
    """Tokens that ``read`` and a prompt take at once; by default as ``window``."""
    sinks: Annotated[int, Field(ge=0, lt=MOST)] = 4
    """First tokens of each row, which stay in sight: models put there what attention they have no use for."""
    bias: Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)] = 0.0
    """Initial value, per head, of a learned number that is added to what is retrieved."""
    age: Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)] | None = None
    """Initial value, per head, of a learned factor on the logarithm of an entry's age; None for no such term."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Exactly the fields of that backend's Options."""
    store: StoreConfig | None = None
    """A store as ``memstack hf-build-store`` writes it, which every row reads as well: its folder or url. What it gives
    stands nowhere in the text at hand: with a store, keys stand at the fixed distance from the beginning, ``auto`` or
    not, and ``far_layers`` are by default those of the store."""

    @model_validator(mode="after")
    def _check(self) -> "LongMemoryConfig":
        for name in ("layers", "far_layers"):
            chosen = getattr(self, name)
            if chosen is not None and (not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0):
                raise ValueError(f"{name} should be one or more different layers, counted from 0, got {list(chosen)}")
        if self.layers is not None and self.far_layers is not None and not {*self.far_layers} <= {*self.layers}:
            raise ValueError(f"far_layers {list(self.far_layers)} should be among layers {list(self.layers)}")
        if self.store is not None and self.position == "true":
            raise ValueError("position: what a store gives has no true place in a text: leave it, or say fixed")
        return self


def settings(given: dict[str, Any]) -> LongMemoryConfig:
    """Validate settings; OptionsError names the key, what came and what was expected."""
    try:
        return LongMemoryConfig.model_validate(given)
    except ValidationError as error:
        raise OptionsError(f"memory: {first_problem(error, LongMemoryConfig)}") from None
