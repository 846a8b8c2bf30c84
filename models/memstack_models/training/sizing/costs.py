"""Unit costs: what an entry, a query, an hour takes, each with where it comes from; ``unit_costs.toml`` has them."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from memstack import ConfigError
from memstack.contract.errors import did_you_mean
from memstack.plugins.config import Frozen, validate
from memstack.plugins.config_text import quoted, read_toml

FILE = Path(__file__).with_name("unit_costs.toml")
Origin = Literal["measured", "counted", "assumed", "given"]


class Cost(Frozen):
    """One number from which sizes, times and prices are made; what kind of number, its subclasses say."""

    unit: str
    origin: Origin
    """Measured by a command, counted in the code, assumed, or given by whoever asks."""
    source: str
    """Which command, where in the code, or why."""


class UnitCost(Cost):
    """What a thing takes."""

    value: float = Field(ge=1e-12, le=1e30, allow_inf_nan=False)


class Share(Cost):
    """A part of something."""

    value: float = Field(ge=1e-3, le=1)


class Copies(Cost):
    """How many there are."""

    value: int = Field(ge=1, le=1000)


class GpuCosts(Frozen):
    """What a GPU holds, and does in a second."""

    memory: UnitCost
    usable: Share
    searched: UnitCost
    passed: UnitCost
    multiplied: UnitCost
    kernel_entries: UnitCost
    kernel_width: UnitCost
    copied: UnitCost


class RanksCosts(Frozen):
    """What ranks hold beside the store, and send to each other."""

    most_entries: UnitCost
    position: UnitCost
    link: UnitCost


class ClusterCosts(Frozen):
    """What the engine of a cluster's nodes takes for an entry and for a query, and what a node is."""

    graph: UnitCost
    files: UnitCost
    copies_on_disk: UnitCost
    send: UnitCost
    index: UnitCost
    larger_index: UnitCost
    segment: UnitCost
    query: UnitCost
    fetched_query: UnitCost
    larger_query: UnitCost
    replicas: Copies
    node_memory: UnitCost
    node_usable: Share
    node_cores: UnitCost


class ClientCosts(Frozen):
    """What a rank takes that asks a cluster."""

    send: UnitCost
    query: UnitCost
    hit: UnitCost


class Prices(Frozen):
    """What is paid; nobody's offer."""

    gpu_hour: UnitCost
    core_hour: UnitCost
    memory_month: UnitCost
    disk_month: UnitCost


class UnitCosts(Frozen):
    """All of them, by section."""

    gpu: GpuCosts
    ranks: RanksCosts
    cluster: ClusterCosts
    client: ClientCosts
    prices: Prices
    never_run: tuple[str, ...]
    """What none of these numbers says, for nobody has run it."""

    def by_name(self) -> Iterator[tuple[str, UnitCost | Share | Copies]]:
        """Each with its name, as ``gpu.memory``."""
        for section, costs in self:
            if isinstance(costs, Frozen):
                yield from ((f"{section}.{name}", cost) for name, cost in costs)


def unit_costs(overrides: Iterable[str] = ()) -> UnitCosts:
    """Return the unit costs, after ``section.name=number`` overrides; ConfigError for one that is none."""
    tree = _tree()
    known = [f"{section}.{name}" for section, costs in tree.items() if isinstance(costs, dict) for name in costs]
    changed: dict[str, Any] = {
        section: dict(costs) if isinstance(costs, dict) else costs for section, costs in tree.items()
    }
    for override in overrides:
        name, _, text = (part.strip() for part in override.partition("="))
        if name not in known:
            near = did_you_mean(name, known) or f"; known: {', '.join(known)}"
            raise ConfigError(f"--cost {quoted(override)} changes no unit cost{near}")
        section, _, key = name.partition(".")
        given = {"value": _number(override, text), "origin": "given", "source": "the command line"}
        changed[section][key] = tree[section][key] | given
    return validate(UnitCosts, changed, "--cost" if changed != tree else FILE.name)


@cache
def _tree() -> dict[str, Any]:
    return read_toml(FILE)


def _number(override: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--cost {quoted(override)}: a unit cost is a number, such as prices.gpu_hour=2.5") from None
