"""What everybody waits for: importing memstack, with and without torch, and listing its backends.

Each sample is in a Python of its own. ``import memstack`` loads no torch: a name comes from its module when it is first
used. Results of commits in which it did are larger by that.
"""

import subprocess
import sys


class Startup:
    """Seconds, without the interpreter's own start; ``time_command`` is the whole command line.

    ``timeraw_import_with_torch`` imports what a model uses, ``timeraw_list_backends`` what only a listing does.
    """

    rounds, warmup_time, repeat, timeout = 1, 0.0, 3, 120

    def timeraw_import(self) -> str:
        return "import memstack"

    def timeraw_import_with_torch(self) -> str:
        return "from memstack import attend, create_memory"

    def timeraw_list_backends(self) -> tuple[str, str]:
        return "memstack.backends()", "import memstack"

    def time_command(self) -> None:
        subprocess.run([sys.executable, "-m", "memstack", "backends"], check=True, capture_output=True)
