"""RunConfig: everything a run needs; the ``[train]`` and ``[eval]`` sections."""

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from memstack.plugins.config import Frozen, MemoryConfig
from memstack_models.data.config import DataConfig
from memstack_models.transformer.config import ModelConfig

FORMAT = 1
"""Of a run's configuration: a change of keys that an older memstack would misread makes it 2."""


class TrainConfig(Frozen):
    """The ``[train]`` section."""

    rows: PositiveInt = 8
    """Documents read side by side."""
    segment: PositiveInt = 256
    """Tokens per row and step: the local context."""
    accumulation: PositiveInt = 1
    """Parts a step is computed in, each with its own rows."""
    steps: PositiveInt = 2000
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: PositiveFloat = 3e-3
    schedule: Literal["cosine", "rsqrt"] = "cosine"
    warmup: PositiveInt = 100
    """Steps of linear warm-up."""
    weight_decay: NonNegativeFloat = 0.1
    clip: PositiveFloat = 1.0
    """Largest norm of the gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What autocast computes matrix products in."""
    compile: bool = False
    """Compile the model with torch.compile at the first step; what the memory does stays as it is."""
    checkpoint_activations: Literal["none", "memory", "all"] = "none"
    """Which layers' activations are computed again in backward instead of kept. Searches are kept, and made once."""
    device: str = "auto"
    """As torch names devices; auto takes an accelerator if there is one."""
    seed: NonNegativeInt = 0
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 200
    validate_every: NonNegativeInt = 0
    """Steps between validations with and without memory; 0 is never."""
    validate_tokens: PositiveInt = 16384
    """Tokens read of each validation document then."""

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if self.rows % self.accumulation:
            raise ValueError(f"rows ({self.rows}) should be a multiple of accumulation ({self.accumulation})")
        if self.optimizer == "adafactor" and (self.schedule != "rsqrt" or self.learning_rate > 1.0):
            raise ValueError("adafactor steps by at most 1/sqrt(step): use schedule rsqrt and learning_rate up to 1")
        return self


class EvalConfig(Frozen):
    """The ``[eval]`` section."""

    split: Literal["train", "validation", "test"] = "test"
    rows: PositiveInt = 8
    documents: NonNegativeInt = 0
    """How many of the split's longest documents are read; 0 is all."""
    tokens: NonNegativeInt = 65536
    """Tokens read of each document; 0 is all."""


class RunConfig(Frozen):
    """Everything a run needs."""

    format: int = FORMAT
    """Of the file; one from before there was a number is read as the first."""
    model: ModelConfig
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)

    @field_validator("format")
    @classmethod
    def _known(cls, number: int) -> int:
        if number != FORMAT:
            raise ValueError(f"this memstack reads format {FORMAT}, got {number}: install a newer memstack")
        return number
