"""What is a fault in what a command line did: a traceback, a hang, a signal, two lines where one is due, files left."""

import re
import unicodedata
from collections.abc import Sequence

from campaign.forked import Done

LONGEST = 2000
"""Characters of a clear line."""
PROGRESS = re.compile(
    r"^\d+/\d+ |^note: |^left out: |^exact search does without |^nothing is kept in a cache: |^made again instead of "
)


def outcome(done: Done) -> str:
    """Return the end of a command in one word or two."""
    if done.code is None:
        return "stopped at its work" if done.working else "hung"
    return {0: "done", 1: "failed in words", 2: "refused"}.get(done.code, f"exit {done.code}")


def faults(done: Done, changed: Sequence[str] = (), *, left: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with an end, a line each.

    ``changed`` is what has changed in the folder, which is nothing if the command refuses; ``left`` is what it has
    left among the temporary files, which is never anything.
    """
    found = [*_end(done), *_words(done)]
    if done.code in (1, 2) and "error: " in done.err and changed:
        found.append(f"left behind by a refusal: {'; '.join(changed[:5])} ({_last(done.err)})")
    if left and done.code is not None:
        found.append(f"left among the temporary files: {'; '.join(left[:5])}")
    return found


def refusal_faults(err: str) -> list[str]:
    """Return what is wrong with the words of a refusal: one clear line is due."""
    lines = [line for line in err.split("\n") if line.strip() and not PROGRESS.match(line)]
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return [f"a refusal in {len(lines)} lines where one is due: {' | '.join(lines)[:300]}"]
    line = lines[0]
    found: list[str] = []
    if len(line) > LONGEST:
        found.append(f"a refusal of {len(line)} characters: {line[:200]}")
    if "pydantic.dev" in line:
        found.append(f"a refusal that points at pydantic: {line[:200]}")
    if any(unicodedata.category(character) == "Cc" for character in line):
        found.append(f"a refusal with control characters: {line[:200]!r}")
    if "[Errno" in line and "'" not in line:
        found.append(f"an error number without a name: {line[:200]}")
    if line.removeprefix("error: ").strip() in ("", "None"):
        found.append("a refusal without words")
    return found


def _end(done: Done) -> list[str]:
    if done.code is None:
        where = " < ".join(re.findall(r"line \d+ in (\w+)", done.stack)[:6])
        return [] if done.working else [f"hangs: after {done.seconds:.0f} s at {where or 'an unknown place'}"]
    if done.code < 0:
        return [f"ended by signal {-done.code}: {_last(done.err)}"]
    return [] if done.code in (0, 1, 2) else [f"exit status {done.code}: {_last(done.err)}"]


def _words(done: Done) -> list[str]:
    if "Traceback (most recent call last)" in done.err + done.out:
        return [f"traceback: {_last(done.err)}"]
    if done.code == 2 and not _is_help(done):
        return refusal_faults(done.err)
    if done.code == 1 and "error: " in done.err:
        return refusal_faults(done.err)
    if done.code == 1 and not (done.err + done.out).strip():
        return ["exit status 1 without a word"]
    return []


def _is_help(done: Done) -> bool:
    return "Usage:" in done.out + done.err and "error: " not in done.err


def _last(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "no words")
