"""The stand-in for a Qdrant server as a process that tests start, kill, stop and start again."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).with_name("qdrant_server.py")


class StandIn:
    """A server at one address, whose collections outlive its process."""

    def __init__(self, folder: Path, key: str = "") -> None:
        self.folder, self.key = folder, key
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        line = [sys.executable, str(SERVER), str(self.folder), str(self.port), self.key]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """End it as a crash does, at any moment."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> None:
        """Let it stand still: its connections stay, and nothing comes."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it stood still."""
        self.process.send_signal(signal.SIGCONT)

    def lose(self, answers: int) -> None:
        """Lose the answers to so many of the next requests, which are done all the same."""
        (self.folder / "lose").write_text(str(answers))
