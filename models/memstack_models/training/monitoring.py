"""A stream's memories while they are used: how long their verbs take and, where search is approximate, its recall."""

from statistics import fmean

import torch

from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack.plugins.registry import registry
from memstack.wrappers.recall_probe import Probed, RecallProbe
from memstack.wrappers.timing import TimedMemory
from memstack_models.training.records import Recall
from memstack_models.training.stream import Stream
from memstack_models.transformer.attention import Attention
from memstack_models.transformer.transformer import Transformer


class MemoryMonitor:
    """Wraps the memories of a stream in place; ``take`` tells what they did since it was last asked.

    ``exact`` says whether their search is, where they are not the configured backend's. Times include an accelerator's
    work if its ``device`` is given.
    """

    def __init__(
        self,
        stream: Stream,
        model: Transformer,
        memory: MemoryConfig,
        probe: ProbeConfig | None = None,
        exact: bool | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._timed = [TimedMemory(inside, device) for inside in stream.memories]
        self._probes: list[RecallProbe] = []
        probe = probe or memory.probe
        exact = registry().spec(memory.backend).exact if exact is None else exact
        if probe.every and not exact:
            layers = [model.attention(layer) for layer in stream.memory_layers]
            self._probes = [_probe(*each, probe) for each in zip(self._timed, layers, strict=False)]
        stream.memories = self._probes or self._timed

    def take_seconds(self) -> dict[str, float]:
        """Seconds in search, add and reset, of all memories together."""
        taken = [timed.take() for timed in self._timed]
        return {verb: sum(seconds[verb] for seconds in taken) for verb in ("search", "add", "reset")}

    def take_probed(self) -> list[Probed]:
        """What the probes of all memories measured."""
        return [probed for probe in self._probes for probed in probe.take()]


def probed_entry(probed: list[Probed]) -> Recall:
    """Means of what was measured; empty if nothing was."""
    if not probed:
        return Recall()
    return Recall(
        recall=round(fmean(each.recall for each in probed), 4),
        attention_mass_recall=round(fmean(each.attention_mass_recall for each in probed), 4),
        age=round(fmean(each.age for each in probed), 1),
    )


def _probe(memory: TimedMemory, attention: Attention, config: ProbeConfig) -> RecallProbe:
    @torch.no_grad()
    def scale() -> torch.Tensor:
        return attention.score_scale()

    return RecallProbe(
        memory, config.every, sampled=config.sampled, floor=config.floor, below=config.below, scale=scale
    )
