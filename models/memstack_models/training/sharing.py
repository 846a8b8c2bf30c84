"""shareable(): a run's configuration as others may see it, without the paths of the machine that trained it."""

from memstack_models.data.documents import last_part, shared
from memstack_models.training.config import RunConfig


def shareable(run: RunConfig) -> RunConfig:
    """Return the configuration with its corpus by its last name, and without the options of its memory that are paths,
    and without the store that it reads.

    Where a memory keeps its files is for whoever uses it to say.
    """
    options = {name: value for name, value in run.memory.options.items() if last_part(value) == value}
    memory = run.memory.model_copy(update={"options": options, "store": None})
    return run.model_copy(update={"data": shared(run.data), "memory": memory})
