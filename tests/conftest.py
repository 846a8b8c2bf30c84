"""One thread per worker: the machine's cores are shared by pytest-xdist's processes, not by torch's threads."""

import os

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
