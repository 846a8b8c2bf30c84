"""sizing(): every size in every way, as one record."""

from collections.abc import Sequence

from memstack_models.training.sizing.cluster import on_cluster
from memstack_models.training.sizing.costs import UnitCosts
from memstack_models.training.sizing.gpus import on_gpus
from memstack_models.training.sizing.records import CostUsed, Size, SizingRecord
from memstack_models.training.sizing.store import Asked, refuse_more_ranks


def sizing(entries: Sequence[int], asked: Asked, costs: UnitCosts) -> SizingRecord:
    """Say of stores of so many entries what they take; ConfigError where a rank would hold none."""
    for each in entries:
        refuse_more_ranks(each, asked.ranks)
    sizes = [Size(entries=each, ways=(on_gpus(each, asked, costs), on_cluster(each, asked, costs))) for each in entries]
    used = {name: CostUsed(**dict(cost)) for name, cost in costs.by_name()}
    return SizingRecord(asked=asked, sizes=tuple(sizes), costs=used, never_run=costs.never_run)
