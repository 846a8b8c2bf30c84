"""The page and the records it is made of."""

from pathlib import Path

import pytest

from campaign import page
from campaign.checks import CHECKS
from campaign.growth import Held, growth
from campaign.jobs import KEPT, Job, kind
from campaign.records import CheckRecord, Finding
from campaign.running import find, kept, place


def record(check: str = "kill/training", **changed: object) -> CheckRecord:
    part, _, name = check.partition("/")
    given: dict[str, object] = {
        "part": part,
        "check": name,
        "title": "What is tried",
        "size": "long",
        "seed": 7,
        "tried": 50,
        "unit": "trainings",
        "outcomes": {"resumed to the same losses": 50},
        "seconds": 61.0,
        "date": "2026-01-01",
        "commit": "abc",
        "machine": "a machine",
    }
    return CheckRecord.model_validate(given | changed)


def test_a_row_says_what_how_often_with_which_seed_and_what_came_of_it() -> None:
    text = page.text([record()])
    assert "| What is tried (`kill/training`) | 50 trainings | 7 | 50 resumed to the same losses | 0 | 61 |" in text
    assert "This run found nothing." in text
    assert "make campaign SEED=7" in text


def test_a_finding_is_on_the_page_with_the_command_that_repeats_it() -> None:
    finding = Finding(what="traceback: KeyError", case="memstack eval", repeat="make campaign SEED=7 PART=kill CASE=3")
    text = page.text([record(faults=1, findings=(finding,))])
    assert "`traceback: KeyError`" in text
    assert "`make campaign SEED=7 PART=kill CASE=3`" in text
    assert "This run found nothing." not in text


def test_what_could_not_be_tried_is_said() -> None:
    assert "3 not tried: only root can mount" in page.text([record(skipped={"only root can mount": 3})])


def test_records_are_kept_by_seed_and_size(tmp_path: Path) -> None:
    (check,) = find(["kill/training"])
    record().write(place(tmp_path, check))
    assert kept(tmp_path, check, "long", 7) == record()
    assert kept(tmp_path, check, "long", 8) is None
    assert kept(tmp_path, check, "short", 7) is None
    assert page.records(tmp_path) == [record()]


def test_every_part_has_a_title_and_every_check_a_name_of_its_own() -> None:
    assert {check.part for check in CHECKS} <= set(page.PARTS)
    assert len({check.full_name for check in CHECKS}) == len(CHECKS)


def test_a_part_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match=r"there is no part 'kil'; there are .*kill/training"):
        find(["kil"])


def test_faults_of_one_kind_are_counted_and_written_down_once(tmp_path: Path) -> None:
    job = Job("kill/training", "short", 1, 100, tmp_path)
    for number in range(100):
        job.keep(number, "a case", "refused", [f"exit status {number}"])
    assert job.faults == 100
    assert [finding.what for finding in job.findings] == ["exit status 0", "exit status 10"]
    for letter in map(chr, range(ord("A"), ord("A") + 40)):
        job.keep(0, "a case", "refused", [f"fault {letter}"])
    assert len(job.findings) == KEPT


def test_cases_depend_on_nothing_but_seed_and_number(tmp_path: Path) -> None:
    whole = Job("kill/training", "short", 1, 5, tmp_path)
    alone = Job("kill/training", "short", 1, 5, tmp_path, only=3)
    drawn = {number: chance.random() for number, chance in whole.cases()}
    assert {number: chance.random() for number, chance in alone.cases()} == {3: drawn[3]}


def test_a_kind_forgets_numbers_and_what_is_quoted() -> None:
    assert kind("no file 'a.txt' at 12") == kind("no file 'b.txt' at 34")


def held(*sizes: int, files: int = 5) -> list[Held]:
    return [Held(100 * i, size, 5 if i == 0 else files, 1) for i, size in enumerate(sizes)]


def test_noise_is_no_growth_and_a_slope_is() -> None:
    noise = [100_000_000 + 4096 * (i * 7 % 5) for i in range(40)]
    assert growth(held(*noise), 4000) == []
    assert growth(held(*(size + 100_000 * i for i, size in enumerate(noise))), 4000)[0].startswith("memory grows")


def test_a_file_more_is_growth() -> None:
    sizes = [Held(i, 10**8, 5 + (i > 30), 1 + (i > 35)) for i in range(40)]
    assert [each.partition(":")[0] for each in growth(sizes, 40)] == ["open files grow", "threads grow"]
