"""One thread per worker: the machine's cores are shared by pytest-xdist's processes, not by torch's threads.

Triton's kernels run in its interpreter, on CPU tensors; it reads its variable once, when it is imported.
"""

import os
import signal

os.environ.setdefault("TRITON_INTERPRET", "1")

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

# Shells start what runs in the background with Ctrl-C ignored, and so would the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["helpers.command_line"]
