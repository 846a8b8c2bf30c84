"""What a memory is worth: the shipped checkpoint on held-out text, with every backend and with two honest baselines."""

from memstack_models.evaluation.comparison import Comparison
from memstack_models.training import run_folder

from memstack.measure import BASELINES
from memstack.plugins.config import MemoryConfig

from .common import BACKENDS, DEVICE, SharedFolder, once, require_installed, set_unit

CHECKPOINT = "stdlib-small"
NONE = "none"


class HeldOut(SharedFolder):
    """The longest test documents of the Python standard library, read from their start with one memory or with none."""

    params = ([NONE, *BASELINES, *BACKENDS], [2048, 8192])
    param_names = ("memory", "entries")
    timeout = 300
    documents, tokens = 2, 9216

    def setup(self, memory: str, entries: int) -> None:
        if memory in BACKENDS:
            require_installed(memory)
        if memory == NONE and entries != self.params[1][0]:
            raise NotImplementedError("without a memory there are no entries: see the first size")

    def track_perplexity(self, memory: str, entries: int) -> float:
        return self._measured(memory, entries)["perplexity"]

    def track_bits_per_byte(self, memory: str, entries: int) -> float:
        return self._measured(memory, entries)["bits per byte"]

    set_unit("perplexity per token", track_perplexity)
    set_unit("bits per byte", track_bits_per_byte)

    def _measured(self, memory: str, entries: int) -> dict[str, float]:
        return once(f"perplexity-{memory}-{entries}", lambda: self._measure(memory, entries))

    def _measure(self, memory: str, entries: int) -> dict[str, float]:
        limits = {"documents": self.documents, "tokens": self.tokens, "rows": self.documents}
        overrides = [f"eval.{name}={number}" for name, number in limits.items()]
        comparison = Comparison(run_folder.find(CHECKPOINT), [*overrides, f"train.device={DEVICE}"])
        backend = memory if memory in BACKENDS else BACKENDS[0]
        config = MemoryConfig(backend=backend, capacity=entries, neighbours=comparison.run.memory.neighbours)
        read = comparison.evaluate(None if memory == NONE else config, baseline=BASELINES.get(memory))
        return {"perplexity": read.perplexity, "bits per byte": read.bits_per_byte}
