"""One thread per worker: the machine's cores are shared by pytest-xdist's processes, not by torch's threads.

Triton's kernels run in its interpreter, on CPU tensors; it reads its variable once, when it is imported.
"""

import os
import signal

os.environ.setdefault("TRITON_INTERPRET", "1")

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

# What runs in the background, or under nohup, has signals ignored, and so would the programs that the tests interrupt.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

pytest_plugins = ["helpers.command_line"]
