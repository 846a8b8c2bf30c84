"""no_more_interrupts(): a command that Ctrl-C ends is not interrupted again while it ends."""

import signal
import threading


def no_more_interrupts() -> None:
    """Ignore further SIGINT in this process, which is about to end: one more would only print where that was."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
