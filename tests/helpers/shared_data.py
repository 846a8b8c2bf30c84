"""Where the project's real long documents are, for tests that want real text."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"real documents are not at {FOLDER}")
