"""PLACEMENT: marks a key that says where, when or how often, and nothing of what comes of it.

A run that is resumed may change it: a folder that moved, another device, fewer lines in the log.

class Options(BackendOptions):
    scratch: Annotated[Path | None, PLACEMENT] = None
"""

from collections.abc import Sequence

from pydantic import BaseModel

from memstack.plugins.secrets import fields_of, inner_model


class Placement:
    """The class of the mark, which is found among a field's annotations."""


PLACEMENT = Placement()


def is_placement(model: type[BaseModel], path: Sequence[str]) -> bool:
    """True if a path of keys leads to, or through, a field of the model that is marked; by name or by alias."""
    inside: type[BaseModel] | None = model
    for key in path:
        field = fields_of(inside).get(key) if inside is not None else None
        if field is None:
            return False
        if any(isinstance(each, Placement) for each in field.metadata):
            return True
        inside = inner_model(field.annotation)
    return False
