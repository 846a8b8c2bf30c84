"""Whether exact search's compiled first pass runs on this machine."""

import pytest
from memstack_exact.cpu import library

from memstack import BackendUnavailableError


def unavailable() -> str:
    """Why the pass cannot run here, if it cannot; sources that do not compile are no such reason."""
    try:
        library.kernel()
    except BackendUnavailableError as error:
        if "AVX-512" not in str(error) and "no C++ compiler" not in str(error):
            raise
        return str(error)
    return ""


WHY_NOT = unavailable()
needs_kernel = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "the kernel runs here")
