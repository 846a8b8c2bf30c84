"""The description of the published package: the README, whose links into the repository lead nowhere from there."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class DescriptionHook(MetadataHookInterface):
    """Fills in ``project.readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Take the README, its links into the repository written as the paths that they lead to."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": described(text)}


def described(text: str) -> str:
    """Replace each relative link of a page by its words and its path; absolute ones stay."""
    return re.sub(r"\[([^\]]+)\]\((?!\w+:)([^)]+)\)", r"\1 (`\2`)", text)
