"""What a shell can complete behind an option; imports neither torch nor a search library."""

from memstack.plugins.registry import registry


def backend_names() -> list[tuple[str, str]]:
    """Every backend with its summary."""
    return [(spec.name, spec.summary) for spec in registry().specs()]
