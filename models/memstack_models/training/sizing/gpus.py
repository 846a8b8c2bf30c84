"""A store in the memory of GPUs, a shard on each rank, searched exactly (``memory.shards``)."""

from math import ceil

from memstack_models.training.sizing.costs import UnitCosts
from memstack_models.training.sizing.records import Once, Timed, Way
from memstack_models.training.sizing.store import Asked, DType, entry_bytes, human

MONTH = 730
"""Hours."""
TIMED_WIDTH = 128
"""Of the keys with which the kernels were timed: what they do with a score when it is made, narrower keys need too."""


def on_gpus(entries: int, asked: Asked, costs: UnitCosts) -> Way:
    """A store of so many entries a head on as many GPUs as ranks."""
    share = ceil(entries / asked.ranks)
    rank = asked.heads * share * (entry_bytes(asked, asked.dtype) + _pass_bytes(asked))
    room, most = costs.gpu.memory.value * costs.gpu.usable.value, costs.ranks.most_entries.value
    fits = rank <= room and entries <= most
    why = f"{human(rank)}B a GPU of {human(room)}B that are free"
    if rank > room:
        why = f"{why}: {ceil(asked.ranks * rank / room):,} GPUs would have the room"
    if entries > most:
        why = f"{why}; and a memory on several ranks holds up to {most:,.0f} entries"
    traffic = _traffic(asked)
    return Way(
        name="GPUs",
        fits=fits,
        why=why,
        exact=True,
        places=asked.ranks,
        bytes=asked.ranks * rank,
        place_bytes=rank,
        host_bytes=ceil(asked.heads * share * costs.ranks.position.value),
        disk_bytes=0,
        traffic_bytes=traffic,
        timed=_timed(asked, costs, share, traffic) if fits else None,
    )


def _pass_bytes(asked: Asked) -> int:
    """What the first pass keeps of an entry beside it: lengths, and a rounded key unless the store's are rounded so."""
    if asked.dtype == DType.INT8:
        return 0  # there is none for such a store
    return 8 + (2 * asked.key_dim if asked.dtype == DType.FLOAT32 else 0)


def _traffic(asked: Asked) -> int:
    """Bytes that a rank receives in a step, forward and backward: what docs/distributed.md lists, in float32."""
    query = 8 * (asked.key_dim + asked.value_dim) + 20 * asked.neighbours
    return asked.queries * asked.heads * query * (asked.ranks - 1)


def _timed(asked: Asked, costs: UnitCosts, share: int, traffic: int) -> Timed:
    gpu = costs.gpu
    scores = asked.ranks * asked.queries * asked.heads * share
    by_kernels = (
        asked.dtype != DType.INT8 and share <= gpu.kernel_entries.value and asked.key_dim <= gpu.kernel_width.value
    )
    best, worst = (gpu.passed, gpu.searched) if by_kernels else (gpu.multiplied, gpu.multiplied)
    exchange = traffic / costs.ranks.link.value
    least = 2 * asked.key_dim * scores / best.value + exchange
    longest = 2 * max(asked.key_dim, TIMED_WIDTH) * scores / worst.value + exchange
    copying = asked.heads * share * entry_bytes(asked, asked.dtype) / gpu.copied.value / 3600
    hour = asked.ranks * costs.prices.gpu_hour.value
    return Timed(
        load=Once(core_hours=asked.ranks * copying, hours=copying),
        index=None,
        search_s=(least, longest),
        client_s=0.0,
        once=copying * hour,
        month=MONTH * hour,
        thousand_steps=1000 * longest / 3600 * hour,
    )
