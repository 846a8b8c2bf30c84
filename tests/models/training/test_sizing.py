"""What stores of very many entries take on paper: by hand, and by what the unit costs are said to come from."""

import json
from pathlib import Path
from typing import Any

import pytest
from memstack_exact.gpu import first_pass
from memstack_models.training.sizing.costs import unit_costs
from memstack_models.training.sizing.records import SizingRecord, Way
from memstack_models.training.sizing.sizing import sizing
from memstack_models.training.sizing.store import Asked, DType, entries_of

from memstack import ConfigError, MemoryShape
from memstack.plugins.room import store_bytes
from memstack.wrappers.sharded import memory as sharded

ROOT = Path(__file__).parents[3]


def ways(entries: int, *costs: str, **asked: Any) -> tuple[Way, Way]:
    (size,) = sizing([entries], Asked(**asked), unit_costs(costs)).sizes
    gpus, cluster = size.ways
    return gpus, cluster


def test_a_billion_entries_on_eight_gpus() -> None:
    gpus, _ = ways(10**9)
    assert gpus.fits
    assert gpus.place_bytes == 125_000_000 * (64 * 2 + 64 * 2 + 8)  # bfloat16, and two lengths in float32
    assert gpus.host_bytes == 8 * 125_000_000
    assert gpus.traffic_bytes == 1024 * 7 * 1664  # as benchmarks.goals.sharded counts them
    assert gpus.timed is not None
    assert gpus.timed.index is None
    flop = 2 * 64 * 8 * 1024 * 125_000_000
    exchange = gpus.traffic_bytes / 1.25e9
    assert gpus.timed.search_s == pytest.approx((flop / 377e12 + exchange, 2 * flop / 106e12 + exchange))
    assert gpus.timed.month == pytest.approx(8 * 2.5 * 730)


def test_a_billion_entries_on_a_cluster() -> None:
    _, cluster = ways(10**9)
    assert cluster.bytes == 2 * 10**9 * (256 + 140)
    assert cluster.disk_bytes == 2 * 10**9 * (2 * 256 + 455)
    assert cluster.places == 8  # of 102.4 GB each
    assert cluster.traffic_bytes == 1024 * (256 + 32 * (12 + 512))
    assert cluster.timed is not None
    assert cluster.timed.index is not None
    assert cluster.timed.load.core_hours == pytest.approx((2 * 23e-6 + 17e-6) * 1e9 / 3600)
    assert cluster.timed.index.core_hours == pytest.approx(2 * 2 * 0.58e-3 * 1e9 / 3600)
    assert cluster.timed.index.hours == pytest.approx(cluster.timed.index.core_hours / (8 * 32))
    engine = 8 * 1024 * (63 * 0.24 * 1.5 + 0.71 - 0.24) / 1e3 / (8 * 32)
    rest = 1024 * 0.136 / 1e3 + cluster.traffic_bytes / 1.25e9
    assert cluster.timed.search_s == pytest.approx((engine + rest, 2 * engine + rest))


@pytest.mark.parametrize("dtype", DType)
def test_what_is_kept_is_what_a_memory_keeps(dtype: DType) -> None:
    gpus, _ = ways(10**6, ranks=1, heads=3, key_dim=48, value_dim=80, dtype=dtype)
    shape = MemoryShape(rows=1, heads=3, key_dim=48, value_dim=80, capacity=10**6)
    kept = store_bytes(shape, dtype)
    beside = {DType.FLOAT32: 8 + 2 * 48, DType.BFLOAT16: 8, DType.INT8: 0}[dtype]
    assert 0 <= kept + 3 * 10**6 * beside - gpus.bytes < 1000  # a memory has one more entry, which stands for none


def test_what_does_not_fit_says_what_would() -> None:
    gpus, cluster = ways(2 * 10**9, dtype="float32", ranks=2)
    assert not gpus.fits
    assert gpus.timed is None
    assert "648 GB a GPU of 64 GB that are free: 21 GPUs would have the room" in gpus.why
    assert cluster.fits
    gpus, _ = ways(10**10, ranks=256)
    assert not gpus.fits
    assert "a memory on several ranks holds up to 2,147,483,647 entries" in gpus.why


def test_larger_stores_take_more_and_more_gpus_less_of_each() -> None:
    few, many = (ways(entries)[1] for entries in (10**8, 10**9))
    assert few.timed is not None
    assert many.timed is not None
    assert few.timed.index is not None
    assert many.timed.index is not None
    assert many.timed.index.core_hours == pytest.approx(10 * few.timed.index.core_hours)
    assert ways(10**9, ranks=16)[0].place_bytes == ways(10**9)[0].place_bytes // 2
    assert ways(10**9, key_dim=128, value_dim=128)[0].bytes > 1.9 * ways(10**9)[0].bytes


def test_eight_bits_and_wide_keys_are_searched_by_the_slower_product() -> None:
    for width, dtype in ((64, DType.INT8), (257, DType.BFLOAT16)):
        timed = ways(10**8, key_dim=width, dtype=dtype)[0].timed
        assert timed is not None
        assert timed.search_s[0] > 2 * width * 8 * 1024 * 12_500_000 / 21e12


def test_unit_costs_are_what_their_sources_say() -> None:
    costs = unit_costs()
    assert costs.gpu.kernel_entries.value == first_pass.MOST_ENTRIES
    assert costs.gpu.kernel_width.value == first_pass.WIDEST
    assert costs.ranks.most_entries.value == sharded.LARGEST
    measured = json.loads((ROOT / "benchmarks/report/h100/gpu.json").read_text(encoding="utf-8"))
    figures = {each["name"]: each["value"] for each in measured["figures"]}
    size = measured["sizes"]
    flop = 2 * size["rows"] * size["heads"] * size["entries"] * size["queries"] * size["dim"]
    searched, multiplied = "bfloat16 pass, all of the search", "torch: float32 product in blocks and top_k (exact)"
    assert costs.gpu.searched.value == pytest.approx(1e3 * flop / figures[searched], rel=0.01)
    assert costs.gpu.multiplied.value == pytest.approx(1e3 * flop / figures[multiplied], rel=0.01)
    share = figures["bfloat16 pass over the keys, of the bfloat16 rate"] / 100
    passed = share * figures["bfloat16 product of large matrices"] * 1e12
    assert costs.gpu.passed.value == pytest.approx(passed, rel=0.01)


def test_every_unit_cost_decides_something() -> None:
    """Doubled, or halved where it is a share, each changes what some store takes."""

    def told(*given: str) -> list[str]:
        asked = [Asked(), Asked(dtype=DType.INT8)]
        entries = [10**8, 10**9, 4 * 10**9]
        return [size.model_dump_json() for each in asked for size in sizing(entries, each, unit_costs(given)).sizes]

    usual, costs = told(), dict(unit_costs().by_name())
    rarely = {"gpu.kernel_entries": 10**6, "gpu.kernel_width": 32}
    for name, cost in costs.items():
        other = rarely.get(name, cost.value / 2)
        assert told(f"{name}={other:g}") != usual, name


def test_another_unit_cost_is_told_as_given() -> None:
    cost = unit_costs(["prices.gpu_hour=4"]).prices.gpu_hour
    assert (cost.value, cost.origin, cost.unit) == (4, "given", "USD")
    (dear,), (cheap,) = (
        [way.timed for way in ways(10**9, f"prices.gpu_hour={price}") if way.name == "GPUs"] for price in (4, 2)
    )
    assert dear is not None
    assert cheap is not None
    assert dear.month == 2 * cheap.month


def test_a_record_reads_itself_back(tmp_path: Path) -> None:
    record = sizing([10**9, 10**10], Asked(), unit_costs())
    record.write(tmp_path / "sizing.json")
    assert SizingRecord.read(tmp_path / "sizing.json") == record


@pytest.mark.parametrize(("text", "entries"), [("1e9", 10**9), ("65536", 65536), ("1_000_000", 10**6), ("1", 1)])
def test_entries_are_read_as_people_write_them(text: str, entries: int) -> None:
    assert entries_of(text) == entries


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "inf", "1e16", "many", "", "1e9 "[:-1] + "x\n"])
def test_what_is_no_number_of_entries_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--entries") as caught:
        entries_of(text)
    assert "\n" not in str(caught.value)
