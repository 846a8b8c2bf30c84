"""The keys of a run's configuration with what they take, read off pydantic's schema; and the options of backends."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memstack_models.training.config import RunConfig

from memstack.plugins.registry import registry

LOADED = ("exact", "hnsw", "bucketed")
"""Backends whose libraries start no thread when they are loaded, so that a child can still be forked."""
CHOICES = {
    "memory.backend": (*LOADED, "faiss-ivf"),
    "data.corpus": ("corpus", "other", "run", "empty", "python-stdlib"),
    "data.pattern": ("*.txt", "*.nothing", "0.txt"),
    "train.device": ("cpu", "auto"),
}


@dataclass(frozen=True)
class Key:
    """A key, as ``--set`` takes it."""

    path: str
    kind: str
    """As JSON's schema names it: integer, number, boolean, string, array, object; or nothing if it is several."""
    choices: tuple[str, ...] = ()


def run_keys() -> list[Key]:
    """Return every key of a recipe, those of some backends' options among them."""
    schema = RunConfig.model_json_schema()
    found = list(_keys(schema, schema, ""))
    for name in LOADED:
        options = vars(registry().backend_class(name))["Options"].model_json_schema()
        found += _keys(options, options, "memory.options.")
    return sorted({key.path: key for key in found}.values(), key=lambda key: key.path)


def _keys(schema: Mapping[str, Any], whole: Mapping[str, Any], prefix: str) -> Iterator[Key]:
    for name, given in schema.get("properties", {}).items():
        field, path = _resolved(given, whole), f"{prefix}{name}"
        if "properties" in field:
            yield from _keys(field, whole, f"{path}.")
        else:
            yield Key(path, _kind(field, whole), CHOICES.get(path) or _choices(field))


def _resolved(field: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = field.get("$ref", "")
    return whole["$defs"][reference.rpartition("/")[2]] if reference else field


def _kind(field: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    kinds = [_resolved(each, whole).get("type", "") for each in field.get("anyOf", [field])]
    return next((kind for kind in kinds if kind != "null"), "")


def _choices(field: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(each) for option in field.get("anyOf", [field]) for each in option.get("enum", ()))
