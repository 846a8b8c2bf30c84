"""A bank's memories while they are used: how long their verbs take and, where search is approximate, its recall."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields, replace
from statistics import fmean

import torch

from memstack import MemoryBank
from memstack.plugins.config import ProbeConfig
from memstack.wrappers.age_probe import AgeProbe
from memstack.wrappers.recall_probe import Probed, RecallProbe
from memstack.wrappers.timing import TimedMemory
from memstack_models.training.ranks import Ranks
from memstack_models.training.records import Recall
from memstack_models.transformer.attention import Attention
from memstack_models.transformer.transformer import Transformer

COUNTS = {"recall": "neighbours", "attention_mass_recall": "queries", "age": "found"}
"""Over how many of what each number of a probe is a mean."""


class MemoryMonitor:
    """Measures the memories of a bank as long as its own ``bank`` is used in that one's place.

    Recall is measured where the search is not exact; how long ago what is found was added, at every ``ages_every``-th
    search. Times include an accelerator's work if its ``device`` is given.
    """

    def __init__(
        self,
        bank: MemoryBank,
        model: Transformer,
        probe: ProbeConfig,
        device: torch.device | str = "cpu",
        ages_every: int = 0,
    ) -> None:
        self._timed = {layer: TimedMemory(inside, device) for layer, inside in bank.items()}
        self._probes = {
            layer: _probe(timed, model.attention(layer), probe)
            for layer, timed in self._timed.items()
            if probe.every and not timed.exact
        }
        probed = {**self._timed, **self._probes}
        self._ages = {layer: AgeProbe(each, ages_every) for layer, each in probed.items() if ages_every}
        self.bank = MemoryBank({**probed, **self._ages})
        """The bank's memories, measured."""

    def take_seconds(self) -> dict[str, float]:
        """Seconds in search, add and reset, of all memories together."""
        taken = [timed.take() for timed in self._timed.values()]
        return {verb: sum(seconds[verb] for seconds in taken) for verb in ("search", "add", "reset")}

    def take_ages(self) -> dict[int, float]:
        """The mean age of what each layer found, in entries; of layers where nothing was found there is none."""
        taken = {layer: probe.take() for layer, probe in self._ages.items()}
        return {layer: age for layer, age in taken.items() if age is not None}

    def take_probed(self) -> list[Probed]:
        """What the probes of all memories measured."""
        return [probed for probe in self._probes.values() for probed in probe.take()]

    def take_probed_over(self, ranks: Ranks) -> list[Probed]:
        """The same of the rows of all ranks, on the first of them; none on the others."""
        if ranks.size == 1:
            return self.take_probed()
        taken = [[layer, *astuple(probed)] for layer, probe in self._probes.items() for probed in probe.take()]
        numbers = torch.tensor(taken, dtype=torch.float64, device="cpu").reshape(-1, 1 + len(fields(Probed)))
        searches: dict[tuple[float, int], list[Probed]] = {}
        for layer, *measured in (row for part in ranks.gathered(numbers) for row in part.tolist()):
            probed = Probed(*measured[:3], *map(int, measured[3:]))
            searches.setdefault((layer, probed.search), []).append(probed)
        return [_of_all_rows(each) for each in searches.values()]


def probed_entry(probed: list[Probed]) -> Recall:
    """Means of what was measured; empty if nothing was."""
    if not probed:
        return Recall()
    return Recall(
        recall=round(fmean(each.recall for each in probed), 4),
        attention_mass_recall=round(fmean(each.attention_mass_recall for each in probed), 4),
        age=round(fmean(each.age for each in probed), 1),
    )


def _of_all_rows(parts: Sequence[Probed]) -> Probed:
    """One search of which several ranks have measured some rows each."""
    means: dict[str, float] = {}
    for name, count in COUNTS.items():
        total = sum(getattr(part, count) for part in parts)
        weighed = sum(getattr(part, name) * getattr(part, count) for part in parts)
        means |= {count: total, name: weighed / total if total else getattr(parts[0], name)}
    return replace(parts[0], **means)


def mean_ages(taken: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """Means by layer, of what several monitors measured."""
    kept = list(taken)
    layers = sorted({layer for ages in kept for layer in ages})
    return {layer: fmean(ages[layer] for ages in kept if layer in ages) for layer in layers}


def _probe(memory: TimedMemory, attention: Attention, config: ProbeConfig) -> RecallProbe:
    @torch.no_grad()
    def scale() -> torch.Tensor:
        return attention.score_scale()[:, None, None]

    return RecallProbe(
        memory, config.every, sampled=config.sampled, floor=config.floor, below=config.below, scale=scale
    )
