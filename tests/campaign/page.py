"""docs/campaign.md, made from the records of the checks."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from campaign.checks import CHECKS
from campaign.records import CheckRecord, Finding

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "campaign.md"
MENDED = Path(__file__).parent / "mended.md"
"""What the campaign has found so far and where it was mended: written by hand."""
PARTS = {
    "kill": "Killed, interrupted, two at once",
    "fuzz": "Fuzzed command lines, recipes and corpora",
    "damage": "Damaged files",
    "disks": "Full and read-only disks, closed outputs",
    "surroundings": "Odd surroundings",
    "growth": "A day's steps without growth",
    "thorough": "Every backend beside the oracle",
}
HEAD = """\
# The campaign

Everything that tries to break memstack from outside, in one command; a short version is part of the test suite.

    make campaign                              # an hour on two cores; what has run is kept, and this page made of it
    make campaign SEED={seed}{pad}# the same random numbers again
    make campaign SEED={seed} PART=fuzz/recipes CASE=7 # one case of one check again
    make campaign FRESH=1                      # forget what has run

What is counted as a fault: a traceback, an end by a signal, a hang, a refusal that is not one clear line or that leaves
something behind, a changed loss, a damaged file taken for a sound one, growth beyond its noise. That each check notices
such a fault is tested, by planting one (`tests/campaign/test_planted.py`).
"""


def records(folder: Path) -> list[CheckRecord]:
    """Return what is kept in a folder, in the order of the checks."""
    order = {check.full_name: number for number, check in enumerate(CHECKS)}
    found = [CheckRecord.read(path) for path in sorted(folder.glob("*.json"))]
    return sorted((each for each in found if each.name in order), key=lambda each: order[each.name])


def write(found: Sequence[CheckRecord], path: Path) -> None:
    """Write the page."""
    path.write_text(text(found), encoding="utf-8")


def text(found: Sequence[CheckRecord]) -> str:
    """Return the page of these records."""
    seed = str(found[0].seed if found else 1)
    pad = " " * max(1, 25 - len(seed))
    sections = [HEAD.format(seed=seed, pad=pad), _about(found)]
    for part, title in PARTS.items():
        if rows := [record for record in found if record.part == part]:
            sections.append(_section(title, rows))
    sections.append(_found(found))
    return "\n".join(sections)


def _about(found: Sequence[CheckRecord]) -> str:
    if not found:
        return "Nothing has run yet.\n"
    machines = sorted({record.machine for record in found})
    seconds = round(sum(record.seconds for record in found))
    days, commits = (sorted({getattr(record, name) for record in found}) for name in ("date", "commit"))
    when = f"{' and '.join(days)}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
    tried, faults = sum(record.tried for record in found), sum(record.faults for record in found)
    return (
        f"Last run: {when}, {_versions(found)}. {len(found)} checks, {tried:,} cases, **{faults:,} faults**, "
        f"{timedelta(seconds=seconds)} hours of checks, two at a time.\n\nMachine: {' / '.join(machines)}.\n"
    )


def _versions(found: Sequence[CheckRecord]) -> str:
    return " and ".join(sorted({f"the {record.size} version" for record in found}))


def _section(title: str, rows: Sequence[CheckRecord]) -> str:
    lines = [
        f"## {title}",
        "",
        "| what | how often | seed | what came of it | faults | seconds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(record) for record in rows]
    notes = [f"{record.name}: {name}: {figure}" for record in rows for name, figure in record.figures.items()]
    return "\n".join(lines + [""] + [f"- {_cell(note)}" for note in notes]) + "\n" * (2 if notes else 1)


def _row(record: CheckRecord) -> str:
    ends = [f"{count:,} {what}" for what, count in sorted(record.outcomes.items(), key=lambda end: -end[1])]
    ends += [f"{count:,} not tried: {reason}" for reason, count in record.skipped.items()]
    what = f"{record.title} (`{record.name}`)"
    cells = (
        what,
        f"{record.tried:,} {record.unit}",
        record.seed,
        "; ".join(ends),
        record.faults,
        f"{record.seconds:.0f}",
    )
    return f"| {' | '.join(_cell(str(cell)) for cell in cells)} |"


def _found(found: Sequence[CheckRecord]) -> str:
    open_ = [(record, finding) for record in found for finding in record.findings]
    lines = ["## What it found", ""]
    if not open_:
        lines += ["This run found nothing." if found else "No run is kept.", ""]
    for record, finding in open_:
        lines += [_finding(record, finding), ""]
    if open_:
        lines += ["What of this has been mended since the run stands below.", ""]
    earlier = MENDED.read_text(encoding="utf-8") if MENDED.is_file() else ""
    return "\n".join(lines) + ("\n" + earlier if earlier else "")


def _finding(record: CheckRecord, finding: Finding) -> str:
    what, case = _told(finding.what), _told(finding.case)
    return f"- {record.name}: `{what}`\n    - case: `{case}`\n    - again: `{finding.repeat}`"


def _told(text: str) -> str:
    """A text of chance as code of a page, where nothing that looks like a command is one to type."""
    shown = re.sub(r"/\S*/site-packages/", ".../", text).replace("memstack ", "").replace("`", "'")
    shown = shown.encode("ascii", "backslashreplace").decode()
    return "".join(each if each.isprintable() else " " for each in shown)[:200]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
