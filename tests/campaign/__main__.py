"""``make campaign``: run the parts that have not run yet, keep what came of them, and make the page."""

import argparse
import random
import sys
from pathlib import Path

from campaign import page, servers
from campaign.running import RESULTS, answer, find, place, run_all, run_here, summary
from campaign.sandbox import preload


def main() -> int:
    """Run what the command line asks for; the exit code is 1 if there are findings."""
    given = _parser().parse_args()
    try:
        checks = find([name for text in given.part for name in text.split()])
    except KeyError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)  # noqa: T201 - this command's own words
        return 2
    if given.serve:
        preload()
        servers.serve(answer)
        return 0
    if given.case is not None:
        return _one_case(given)
    if given.fresh:
        for check in checks:
            place(given.results, check).unlink(missing_ok=True)
    ran = True
    if not given.only_page:
        seed = _seed(given.seed, given.results)
        _say(f"seed {seed}: make campaign SEED={seed} repeats this; what has run is kept in {given.results}")
        ran = run_all(checks, given.size, seed, given.results, _say, given.jobs)
    records = page.records(given.results)
    page.write(records, given.page)
    _say(f"wrote {given.page}")
    return int(not ran or any(record.faults for record in records))


def _one_case(given: argparse.Namespace) -> int:
    """Run one case again, and keep nothing."""
    check = find(given.part)[0]
    record = run_here(check, given.size, given.seed or 0, only=given.case)
    _say(summary(record))
    for finding in record.findings:
        _say(f"{finding.what}\n    {finding.case}")
    return int(bool(record.faults))


def _seed(given: int | None, folder: Path) -> int:
    """The seed that was given, or that of a campaign that was begun here, or a new one."""
    path = folder / "seed"
    if given is None and path.is_file():
        return int(path.read_text(encoding="utf-8"))
    seed = random.SystemRandom().randrange(1 << 31) if given is None else given
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{seed}\n", encoding="utf-8")
    return seed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make campaign", description=__doc__)
    parser.add_argument("--part", action="append", default=[], help="a part, or a part and a check: kill, fuzz/recipes")
    parser.add_argument("--seed", type=int, help="of all random numbers; without it a new one, which is printed")
    parser.add_argument("--size", choices=("short", "long"), default="long")
    parser.add_argument("--case", type=int, help="try this one case of a check again")
    parser.add_argument("--jobs", type=int, default=2, help="checks at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that keeps what came of each check")
    parser.add_argument("--page", type=Path, default=page.PAGE)
    parser.add_argument("--only-page", action="store_true", help="run nothing")
    parser.add_argument("--fresh", action="store_true", help="forget what has run")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this command's own words


if __name__ == "__main__":
    sys.exit(main())
