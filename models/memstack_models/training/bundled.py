"""The recipes and checkpoints that ship, by name; told without importing torch, for a shell that completes."""

from pathlib import Path

RECIPES, PRETRAINED = Path(__file__).parent / "recipes", Path(__file__).parent / "pretrained"
CHECKPOINT = "stdlib-small"
"""The checkpoint that commands take unless told otherwise."""


def recipes() -> list[str]:
    """Return the names of the recipes that ship."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def checkpoints() -> list[str]:
    """Return the names of the checkpoints that ship; a program that was frozen without them has none."""
    return sorted(path.name for path in PRETRAINED.iterdir()) if PRETRAINED.is_dir() else []
