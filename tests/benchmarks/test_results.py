"""The results that the repository keeps: each file is read by the record that writes it, and is what it would write."""

from pathlib import Path

import pytest
from memstack_models.evaluation.records import CompareRecord
from memstack_models.report.records import Report

from benchmarks.goals.exact import ExactGoals
from benchmarks.goals.growth_results import Growth
from benchmarks.goals.hf_peers_results import HfPeers
from benchmarks.goals.peer import PeerGoals
from memstack.plugins.records import Record

FOLDER = Path(__file__).parents[2] / "benchmarks" / "report" / "two-cores"
KEPT: dict[str, type[Record]] = {
    "compare": CompareRecord,
    "exact": ExactGoals,
    "exact-avx2": ExactGoals,
    "growth": Growth,
    "hf-peers": HfPeers,
    "peer": PeerGoals,
    "results": Report,
}


def test_every_file_has_its_record() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_result_is_read_and_written_as_it_is(name: str, tmp_path: Path) -> None:
    path = FOLDER / f"{name}.json"
    KEPT[name].read(path).write(tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", KEPT)
def test_no_key_has_a_space_unless_it_is_a_name(name: str) -> None:
    """Memories and backends are called as they are on the command line, by which spaces are no part of a name."""
    record = KEPT[name].read(FOLDER / f"{name}.json").model_dump(mode="json")
    assert [key for key in keys(record) if " " in key] == []


def keys(tree: object) -> list[str]:
    if isinstance(tree, list):
        return [key for each in tree for key in keys(each)]
    return [*tree, *(key for each in tree.values() for key in keys(each))] if isinstance(tree, dict) else []
