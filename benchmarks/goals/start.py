"""What people wait for before anything begins: ``python -m benchmarks.goals.start``.

Each line is a process of its own, and what it costs is the processor's time, the user's and the system's, by its
median: what else the machine does counts little. Half a minute, most of it torch.
"""

import resource
import statistics
import subprocess
import sys

import typer
from typer import echo

COMMANDS = (("--help",), ("--version",), ("bakends",), ("backends",))
"""``bakends`` is a typo, which is answered by what may have been meant."""
GOAL = 0.4
IMPORT_GOAL = 0.15
REPEATS = 9


def main(repeats: int = REPEATS) -> None:
    """Print what commands that need no torch cost, and what memstack adds to an import of it."""
    for command in COMMANDS:
        seconds = cost(["-m", "memstack", *command], repeats)
        echo(f"memstack {' '.join(command)}: {seconds:.2f} s (goal {GOAL})")
    seconds = statistics.median(_of_import() for _ in range(repeats))
    echo(f"import memstack, after import torch: {seconds:.2f} s (goal {IMPORT_GOAL})")


def cost(line: list[str], repeats: int) -> float:
    """Seconds of the processor that Python takes for this, by the median; the first one, which may compile, apart."""
    return statistics.median([_once(line) for _ in range(repeats + 1)][1:])


def _once(line: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *line], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _of_import() -> float:
    """Seconds in one process, for torch's own differ from one to the next by more than memstack takes."""
    code = "import time, torch; begun = time.process_time(); import memstack; print(time.process_time() - begun)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


if __name__ == "__main__":
    typer.run(main)
