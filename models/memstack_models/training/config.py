"""RunConfig: everything a run needs; the ``[train]`` and ``[eval]`` sections."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from memstack.plugins.bounds import Count, CountOrNone, Length, Real, Seed, Size
from memstack.plugins.config import Frozen, MemoryConfig
from memstack.plugins.placement import PLACEMENT
from memstack_models.data.config import DataConfig
from memstack_models.transformer.config import ModelConfig

FORMAT = 1
"""Of a run's configuration: a change of keys that an older memstack would misread makes it 2."""


class TrainConfig(Frozen):
    """The ``[train]`` section."""

    rows: Size = 8
    """Documents read side by side."""
    segment: Length = 256
    """Tokens per row and step: the local context."""
    accumulation: Size = 1
    """Parts a step is computed in, each with its own rows."""
    steps: Count = 2000
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: Annotated[Real, Field(gt=0, le=1e3)] = 3e-3
    schedule: Literal["cosine", "rsqrt"] = "cosine"
    warmup: Count = 100
    """Steps of linear warm-up."""
    weight_decay: Annotated[Real, Field(ge=0, le=1e3)] = 0.1
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient; inf clips nothing."""
    distractors: bool = False
    """Keep a row's memory when it begins another document: entries that mislead, as a large memory has them, so that
    keys of one document are told from those of others (as the negatives of arXiv 2307.03170). Evaluation never does."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What autocast computes matrix products in."""
    compile: Annotated[bool, PLACEMENT] = False
    """Compile the model with torch.compile at the first step; what the memory does stays as it is."""
    checkpoint_activations: Annotated[Literal["none", "memory", "all"], PLACEMENT] = "none"
    """Which layers' activations are computed again in backward instead of kept. Searches are kept, and made once."""
    device: Annotated[str, PLACEMENT] = "auto"
    """As torch names devices; auto takes an accelerator if there is one."""
    parallel: Annotated[Literal["auto", "none", "ddp", "fsdp"], PLACEMENT] = "auto"
    """How the processes that torchrun starts share the model: each has all of it (ddp), or a part (fsdp). auto is ddp
    where there are several; none refuses several. One process trains alone, whatever it says."""
    seed: Seed = 0
    log_every: Annotated[Count, PLACEMENT] = 10
    checkpoint_every: Annotated[Count, PLACEMENT] = 200
    validate_every: Annotated[CountOrNone, PLACEMENT] = 0
    """Steps between validations with and without memory; 0 is never."""
    validate_tokens: Annotated[Count, PLACEMENT] = 16384
    """Tokens read of each validation document then."""
    curves: Annotated[Literal["none", "tensorboard", "wandb"], PLACEMENT] = "none"
    """Where curves are drawn beside the log: TensorBoard's event files in the run's folder, or W&B, which sends them
    away. A run that goes on may ask for them late: they are made from the log."""

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
    rows: Size = 8
    documents: CountOrNone = 0
    """How many of the split's longest documents are read; 0 is all."""
    tokens: CountOrNone = 65536
    """Tokens read of each document; 0 is all."""


class RunConfig(Frozen):
    """Everything a run needs."""

    format: Size = FORMAT
    """Of the file; one from before there was a number is read as the first."""
    model: ModelConfig
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    eval: Annotated[EvalConfig, PLACEMENT] = Field(default_factory=EvalConfig)

    @field_validator("format")
    @classmethod
    def _known(cls, number: int) -> int:
        if number != FORMAT:
            raise ValueError(f"this memstack reads format {FORMAT}, got {number}: install a newer memstack")
        return number

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        candidates, kept = self.model.candidates, self.memory.neighbours
        if candidates is not None and candidates < kept:
            raise ValueError(f"model.candidates ({candidates}) should be at least memory.neighbours ({kept})")
        return self
