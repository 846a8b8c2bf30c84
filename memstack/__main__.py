"""``python -m memstack`` is ``memstack``."""

from memstack.cli import main

main()
