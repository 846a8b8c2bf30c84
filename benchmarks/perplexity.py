"""What a memory is worth: the shipped checkpoint on held-out text, with every backend and with two honest floors."""

from collections.abc import Callable

from memstack_models import runs
from memstack_models.comparison import Comparison
from memstack_models.data import evaluation_stream
from memstack_models.evaluation import Evaluation, evaluate

from memstack import Memory, MemoryShape
from memstack.config import MemoryConfig
from memstack.measure import RandomEntries, Recent

from .common import BACKENDS, DEVICE, SharedFolder, once, require_installed

CHECKPOINT = "stdlib-small"
NONE = "none"
FLOORS: dict[str, Callable[[MemoryShape], Memory]] = {"newest k": Recent, "random k": RandomEntries}
"""Memories that look at no key. A search that does not beat them is worth nothing."""


class HeldOut(SharedFolder):
    """The longest test documents of the Python standard library, read from their start with one memory or with none."""

    params = ([NONE, *FLOORS, *BACKENDS], [512, 4096])
    param_names = ("memory", "entries")
    timeout = 300
    documents, tokens = 2, 6144

    def setup(self, memory: str, entries: int) -> None:
        if memory in BACKENDS:
            require_installed(memory)
        if memory == NONE and entries != self.params[1][0]:
            raise NotImplementedError("without a memory there are no entries: see the first size")

    def track_perplexity(self, memory: str, entries: int) -> float:
        return self._measured(memory, entries)["perplexity"]

    def track_bits_per_byte(self, memory: str, entries: int) -> float:
        return self._measured(memory, entries)["bits per byte"]

    track_perplexity.unit = "perplexity per token"
    track_bits_per_byte.unit = "bits per byte"

    def _measured(self, memory: str, entries: int) -> dict[str, float]:
        return once(f"perplexity-{memory}-{entries}", lambda: self._measure(memory, entries))

    def _measure(self, memory: str, entries: int) -> dict[str, float]:
        limits = {"documents": self.documents, "tokens": self.tokens, "rows": self.documents}
        overrides = [f"eval.{name}={number}" for name, number in limits.items()]
        comparison = Comparison(runs.find(CHECKPOINT), [*overrides, f"train.device={DEVICE}"])
        read = evaluated(comparison, memory, entries)
        return {"perplexity": read.perplexity(), "bits per byte": read.bits_per_byte}


def evaluated(comparison: Comparison, memory: str, entries: int) -> Evaluation:
    """Read the comparison's documents with a backend, a floor or no memory."""
    if memory in BACKENDS:
        neighbours = comparison.run.memory.neighbours
        return comparison.evaluate(MemoryConfig(backend=memory, capacity=entries, neighbours=neighbours)).evaluation
    stream = evaluation_stream(comparison.run, comparison.documents, comparison.device, None)
    if memory in FLOORS:
        model = comparison.run.model
        size = {"key_dim": model.head_dim, "value_dim": model.head_dim, "capacity": entries}
        shape = MemoryShape(rows=stream.reader.rows, heads=model.kv_heads, **size)
        stream.memories = [FLOORS[memory](shape) for _ in model.memory_layers]
    return evaluate(comparison.model, stream, comparison.tokenizer.token_bytes)
