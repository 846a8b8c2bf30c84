"""``memstack``, and ``python -m memstack``: Ctrl-C is a word also while the command's parts are being imported."""

import signal
import sys


def main() -> None:
    """Run the command line and leave Python with its exit code."""
    try:
        from memstack.cli.main import main as run

        run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only print where the first one ended
        if "--debug" in sys.argv:
            raise
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
