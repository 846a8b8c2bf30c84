"""``python -m memstack`` is ``memstack``."""

from memstack.cli.main import main

main()
