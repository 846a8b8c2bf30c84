"""ModelConfig: the ``[model]`` section. Shapes of the paper are presets."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from memstack.plugins.bounds import Initial, Length, LengthOrNone, Real, Size
from memstack.plugins.config import Frozen

# The 1B and 8B presets' memory layer is the fourth from the top, as in the 200M model: the paper does not say.
# The paper's form (arXiv 2203.08913, section 3; the released code where the text is silent): per-head gate starting at
# one half, no position term in the memory layer, a query never attends to itself, a cache as long as the context.
PAPER: dict[str, Any] = {
    "combine": "gate",
    "smear_keys": False,
    "memory_layer_positions": False,
    "include_self": False,
    "cache": 512,
    "scale_form": "abs",
    "scale_init": 1.0,
}
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"layers": 2, "dim": 64, "heads": 2, "ffn_dim": 256, "memory_layers": (1, 2)},
    "small": {"layers": 4, "dim": 128, "heads": 4, "ffn_dim": 512, "memory_layers": (1, 3)},
    "paper-200m": PAPER | {"layers": 12, "dim": 1024, "heads": 8, "ffn_dim": 4096, "memory_layers": (9,)},
    "paper-1b": PAPER
    | {"layers": 8, "dim": 2048, "heads": 32, "head_dim": 128, "ffn_dim": 16384, "memory_layers": (5,)},
    "paper-8b": PAPER
    | {"layers": 16, "dim": 4096, "heads": 64, "head_dim": 128, "ffn_dim": 32768, "memory_layers": (13,)},
}


class ModelConfig(Frozen):
    """The ``[model]`` section. A preset fills in what is not given."""

    preset: Literal["tiny", "small", "paper-200m", "paper-1b", "paper-8b"] | None = None
    layers: Size
    dim: Size
    heads: Size
    kv_heads: Size
    """Heads of keys and values; each serves heads / kv_heads consecutive query heads (grouped-query attention)."""
    head_dim: Size
    ffn_dim: Size
    memory_layers: tuple[Size, ...]
    """Which layers search the memory, counted from 1 as in the paper; none makes a plain transformer."""
    combine: Literal["gate", "joint"] = "joint"
    """How local and retrieved attention meet: a sigmoid gate per head (the paper), or one softmax over both."""
    gate_init: Initial = 0.0
    """The gate's initial bias; 0 gives both sides one half."""
    gate_form: Literal["head", "content"] = "head"
    """What the gate depends on: the head alone (the paper), or what the token is as well."""
    largest_share: Annotated[Real, Field(gt=0, le=1)] = 1.0
    """The most of a token's attention that a head may give to retrieved entries. Below 1 the keys and values of a head
    that looks at its memory alone go on being trained; a memory has no gradient."""
    memory_bias_init: Initial = -4.0
    """Initial bias per head on retrieved scores in the joint softmax. At 0 the nearest of thousands of entries, which
    mean nothing yet, get most of a new model's attention, and it learns more slowly than one without a memory."""
    age_init: Initial | None = None
    """Initial value of a learned factor per head on log(age), which is taken off a retrieved score: so that an entry of
    long ago counts less than one of yesterday. None leaves the term away; 0.3 is a good start."""
    candidates: Size | None = None
    """How many neighbours are found by key, of which the best are kept once their age counts; None finds just as many
    as are kept."""
    smear_keys: bool = True
    """Mix each key with its predecessor's by a learned weight per head, before normalisation."""
    empty_memory: Literal["local", "zeros"] = "local"
    """What the gate does in a row whose memory is empty: local attention alone, or the gate's share of zeros."""
    scale_form: Literal["log", "abs"] = "log"
    """What is learned of the attention scale: its logarithm, for Adam, whose step does not depend on the parameter's
    size; or itself, as in the released code, for Adafactor, whose step is relative to it."""
    scale_init: Annotated[Real, Field(ge=1e-6, le=1e6)] = 10.0
    """Initial attention scale: unit queries and keys give scores within [-1, 1], which 1.0 leaves nearly uniform."""
    memory_layer_positions: bool = True
    """Give the memory layers' local attention its relative position bias."""
    include_self: bool = True
    """Let a token attend to itself."""
    cache: LengthOrNone = 0
    """Tokens of the Transformer-XL cache, in every layer; 0 is off. The window is as long as the cache, and never
    shorter than the segment."""
    cached_twice: bool = True
    """What is cached is in the memory as well, as in the released code, and counts in both. False leaves retrieved
    entries out that a token sees in its cache."""
    relative_buckets: Size = 32
    relative_distance: Length = 128
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        filled = PRESETS.get(str(given.get("preset")), {}) | given
        heads, dim = filled.get("heads"), filled.get("dim")
        if isinstance(heads, int) and isinstance(dim, int) and 1 <= heads <= dim:
            filled = {"kv_heads": heads, "head_dim": dim // heads} | filled
        return filled

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) should be a multiple of kv_heads ({self.kv_heads})")
        if any(layer > self.layers for layer in self.memory_layers):
            raise ValueError(f"memory_layers {self.memory_layers} should lie within 1 to layers ({self.layers})")
        if self.gate_form == "content" and self.combine != "gate":
            raise ValueError(f"gate_form 'content' is a form of combine = 'gate', got combine {self.combine!r}")
        if len(set(self.memory_layers)) < len(self.memory_layers):
            raise ValueError(f"memory_layers {self.memory_layers} names a layer twice")
        if self.relative_buckets < 2 or self.relative_distance <= self.relative_buckets // 2:
            raise ValueError(
                f"relative_distance ({self.relative_distance}) should exceed half of relative_buckets "
                f"({self.relative_buckets}, at least 2), for that many are exact"
            )
        return self
