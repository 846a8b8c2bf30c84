"""One check is run here, in this process; many are run in processes of their own, two at a time, and kept."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from campaign import servers
from campaign.checks import CHECKS, PLANTS
from campaign.jobs import Check, Job, Size
from campaign.records import CheckRecord
from memstack.measure.hardware import describe_hardware

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "runs" / "campaign"


def find(names: Sequence[str]) -> list[Check]:
    """Return the checks of these parts, or of these full names; all if there are none. KeyError for others."""
    for name in names:
        if not any(name in (check.part, check.full_name) for check in CHECKS):
            known = sorted({check.part for check in CHECKS} | {check.full_name for check in CHECKS})
            raise KeyError(f"there is no part {name!r}; there are {', '.join(known)}")
    return [check for check in CHECKS if not names or check.part in names or check.full_name in names]


def run_here(
    check: Check, size: Size, seed: int, *, count: int = 0, only: int | None = None, plant: str = ""
) -> CheckRecord:
    """Run a check in this process, which nobody else uses; ``plant`` names what is broken on purpose."""
    torch.set_num_threads(1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as scratch:
        job = Job(check.full_name, size, seed, count or check.count(size), Path(scratch), only)
        if plant:
            job.plant, os.environ["CAMPAIGN_PLANT"] = PLANTS[plant], plant
        check.run(job)
    return _record(check, job, time.monotonic() - start)


def run_apart(
    check: Check, size: Size, seed: int, out: Path, *, count: int = 0, only: int | None = None, plant: str = ""
) -> CheckRecord:
    """Run a check in a process of its own, which writes its record to ``out``; RuntimeError if it writes none."""
    out.unlink(missing_ok=True)
    asked = {"check": check.full_name, "size": size, "seed": seed, "count": count, "only": only, "plant": plant}
    said = servers.mine().ask(asked | {"out": str(out)})
    if not out.is_file():
        raise RuntimeError(f"{check.full_name} wrote no record: {said[-2000:]}")
    return CheckRecord.read(out)


def answer(asked: Mapping[str, Any]) -> None:
    """Run the check that was asked for, and write its record."""
    (check,) = find([asked["check"]])
    run = {name: asked[name] for name in ("size", "seed", "count", "only", "plant")}
    run_here(check, **run).write(Path(asked["out"]))


def place(folder: Path, check: Check) -> Path:
    """Return the file that keeps a check's record."""
    return folder / f"{check.part}-{check.name}.json"


def kept(folder: Path, check: Check, size: Size, seed: int) -> CheckRecord | None:
    """Return the record of a check that ran before with this seed and size, whole."""
    path = place(folder, check)
    record = CheckRecord.read(path) if path.is_file() else None
    return record if record is not None and (record.size, record.seed) == (size, seed) else None


def run_all(
    checks: Iterable[Check], size: Size, seed: int, folder: Path, tell: Callable[[str], None], jobs: int = 2
) -> bool:
    """Run checks, those kept excepted, the longest first; ``tell`` is told of each. False if one could not be run."""
    ordered = sorted(checks, key=lambda check: -check.minutes)

    def one(check: Check) -> bool:
        found = kept(folder, check, size, seed)
        try:
            record = found or run_apart(check, size, seed, place(folder, check))
        except RuntimeError as error:
            tell(f"{check.full_name} could not be run: {error}")
            return False
        tell(f"{'kept: ' if found else ''}{summary(record)}")
        return True

    with ThreadPoolExecutor(jobs) as pool:
        return all(list(pool.map(one, ordered)))


def summary(record: CheckRecord) -> str:
    """Return a record in one line."""
    ends = ", ".join(f"{count:,} {what}" for what, count in sorted(record.outcomes.items(), key=lambda end: -end[1]))
    skipped = "".join(f"; {count} not tried: {reason}" for reason, count in record.skipped.items())
    return (
        f"{record.name}, seed {record.seed}: {record.tried:,} {record.unit} in {record.seconds:.0f} s, "
        f"{record.faults} faults ({ends}){skipped}"
    )


def _record(check: Check, job: Job, seconds: float) -> CheckRecord:
    line = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    hardware = describe_hardware()
    return CheckRecord(
        part=check.part,
        check=check.name,
        title=check.title,
        size=job.size,
        seed=job.seed,
        tried=job.tried,
        unit=check.unit,
        outcomes=dict(job.outcomes),
        findings=tuple(job.findings),
        faults=job.faults,
        figures=job.figures,
        skipped=dict(job.skipped),
        seconds=round(seconds, 1),
        date=datetime.now(UTC).date().isoformat(),
        commit=commit or "unknown",
        machine="; ".join((hardware["processor"], hardware["memory"], hardware["system"], hardware["libraries"])),
    )
