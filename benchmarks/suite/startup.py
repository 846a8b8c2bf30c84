"""What everybody waits for: importing memstack, listing its backends. Each sample in a Python of its own."""

import subprocess
import sys


class Startup:
    """Seconds, without the interpreter's own start; ``time_command`` is the whole command line."""

    rounds, warmup_time, repeat, timeout = 1, 0.0, 3, 120

    def timeraw_import(self) -> str:
        return "import memstack"

    def timeraw_list_backends(self) -> tuple[str, str]:
        return "memstack.backends()", "import memstack"

    def time_command(self) -> None:
        subprocess.run([sys.executable, "-m", "memstack", "backends"], check=True, capture_output=True)
