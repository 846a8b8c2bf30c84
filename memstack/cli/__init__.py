"""The command line; what it shares with the commands of plugins is ``console``."""

from memstack.cli import console

__all__ = ["console"]
