"""A store in a cluster with a graph over the keys (``memory.backend = "qdrant-graph"``), asked by all ranks."""

from math import ceil

from memstack_models.training.sizing.costs import UnitCosts
from memstack_models.training.sizing.gpus import MONTH
from memstack_models.training.sizing.records import Once, Timed, Way
from memstack_models.training.sizing.store import Asked, DType, entry_bytes, human

TIMED_ENTRIES, TIMED_WIDTH, TIMED_NEIGHBOURS = 100_000, 64, 32
"""Of what was timed: one segment of so many entries, keys and values of that width. Wider ones count in proportion."""
HOUR_MS, HOUR_US = 3.6e6, 3.6e9
"""Of an hour."""


def on_cluster(entries: int, asked: Asked, costs: UnitCosts) -> Way:
    """A store of so many entries a head, on as many nodes as have memory for it, as the backend sets it up."""
    cluster, stored = costs.cluster, asked.heads * entries
    replicas, kept = cluster.replicas.value, entry_bytes(asked, _dtype(asked))
    memory = ceil(stored * replicas * (kept + cluster.graph.value))
    room = cluster.node_memory.value * cluster.node_usable.value
    nodes = max(replicas, ceil(memory / room))
    disk = ceil(stored * replicas * (cluster.copies_on_disk.value * kept + cluster.files.value))
    traffic = ceil(asked.queries * asked.heads * _answer_bytes(asked, costs))
    return Way(
        name="cluster",
        fits=True,
        why=f"{nodes:,} nodes, each of {human(cluster.node_memory.value)}B and {cluster.node_cores.value:.0f} cores",
        exact=False,
        places=nodes,
        bytes=memory,
        place_bytes=ceil(memory / nodes),
        host_bytes=0,
        disk_bytes=disk,
        traffic_bytes=traffic,
        timed=_timed(entries, asked, costs, nodes, disk, traffic),
    )


def _dtype(asked: Asked) -> str:
    """In which of its two types the backend stores this: it has neither bfloat16 nor 8 bits."""
    return "float32" if asked.dtype == DType.FLOAT32 else "float16"


def _answer_bytes(asked: Asked, costs: UnitCosts) -> float:
    """What a query and its answer take on the way: neighbours with keys and values, in float32."""
    return 4 * asked.key_dim + asked.neighbours * (costs.client.hit.value + 4 * (asked.key_dim + asked.value_dim))


def _timed(entries: int, asked: Asked, costs: UnitCosts, nodes: int, disk: int, traffic: int) -> Timed:
    cluster, prices = costs.cluster, costs.prices
    stored, replicas = asked.heads * entries, cluster.replicas.value
    cores, width = nodes * cluster.node_cores.value, asked.key_dim / TIMED_WIDTH
    larger = entries > TIMED_ENTRIES
    sent, by_client = stored * replicas * cluster.send.value / HOUR_US, stored * costs.client.send.value / HOUR_MS
    load = Once(core_hours=sent + by_client, hours=max(sent / cores, by_client / asked.ranks))
    graph = cluster.index.value * width * (cluster.larger_index.value if larger else 1)
    indexed = stored * replicas * graph / HOUR_MS
    index = Once(core_hours=indexed, hours=indexed / cores)
    asked_s = asked.ranks * _engine_ms(entries, asked, costs) / 1e3
    client = asked.queries * asked.heads * costs.client.query.value * _carried(asked) / 1e3
    rest = client + traffic / costs.ranks.link.value
    search = asked_s / cores + rest, replicas * asked_s / cores + rest
    node_hour = cluster.node_cores.value * prices.core_hour.value
    node_month = MONTH * node_hour + cluster.node_memory.value / 1e9 * prices.memory_month.value
    return Timed(
        load=load,
        index=index,
        search_s=search,
        client_s=client,
        once=(load.core_hours + index.core_hours) * prices.core_hour.value,
        month=nodes * node_month + disk / 1e9 * prices.disk_month.value,
        thousand_steps=1000 * search[1] / 3600 * nodes * node_month / MONTH,
    )


def _engine_ms(entries: int, asked: Asked, costs: UnitCosts) -> float:
    """Core-milliseconds of the cluster for the queries of one rank: every segment's graph, then what was found."""
    cluster = costs.cluster
    larger = cluster.larger_query.value if entries > TIMED_ENTRIES else 1
    looked_up = ceil(entries / cluster.segment.value) * cluster.query.value * larger * asked.key_dim / TIMED_WIDTH
    fetched = max(0.0, cluster.fetched_query.value - cluster.query.value) * _carried(asked)
    return asked.queries * asked.heads * (looked_up + fetched)


def _carried(asked: Asked) -> float:
    """What an answer holds, in units of the one that was timed."""
    return (asked.key_dim + asked.value_dim) / (2 * TIMED_WIDTH) * asked.neighbours / TIMED_NEIGHBOURS
