"""A backend's secrets: options of type SecretStr, from the command line or the environment, written nowhere."""

import os
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel, SecretStr
from pydantic.fields import FieldInfo

PREFIX = "MEMSTACK_SECRET_"


def sealed(options: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the options with each text that is a secret to the model as a SecretStr, which prints as asterisks."""
    fields = fields_of(model)
    return {key: _sealed(value, fields[key].annotation) if key in fields else value for key, value in options.items()}


def without_secrets(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of plain values and sealed secrets without the secrets, as it may be written down."""
    return {key: _shown(value) for key, value in tree.items() if not _holds_secret(value)}


def from_environment(backend: str, model: type[BaseModel]) -> dict[str, SecretStr]:
    """Return the backend's secrets for which there is a ``variable``; those inside of other options have none."""
    secret = {name: field for name, field in model.model_fields.items() if keeps_secret(field.annotation)}
    alone = [_keys(name, field)[0] for name, field in secret.items() if inner_model(field.annotation) is None]
    names = {key: variable(backend, key) for key in alone}
    return {key: SecretStr(os.environ[name]) for key, name in names.items() if name in os.environ}


def variable(backend: str, option: str) -> str:
    """Return the environment variable of a secret option, such as MEMSTACK_SECRET_MY_INDEX_API_KEY."""
    return PREFIX + re.sub(r"\W", "_", f"{backend}_{option}").upper()


def how_to_give(backend: str, option: str) -> str:
    """Say that a secret is missing, and where it is looked for."""
    return (
        f"the secret {option} is missing, and no file keeps it: give it with --set memory.options.{option}=... "
        f"or in the environment variable {variable(backend, option)}"
    )


def keeps_secret(annotation: Any) -> bool:
    """True if an annotation is a secret's, or that of something with a secret inside."""
    if not isinstance(annotation, type):
        return any(map(keeps_secret, typing.get_args(annotation)))
    if issubclass(annotation, BaseModel):
        return any(keeps_secret(field.annotation) for field in annotation.model_fields.values())
    return issubclass(annotation, SecretStr)


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by every key that it may be told to read: names and aliases."""
    return {key: field for name, field in model.model_fields.items() for key in _keys(name, field)}


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation names, alone or as the first of a union; None if it names none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next(filter(None, map(inner_model, typing.get_args(annotation))), None)
    return None


def _keys(name: str, field: FieldInfo) -> list[str]:
    """The keys of a field, the one that its model prefers first."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [] if alias is None else [alias]
    return [*(str(each.path[0]) if isinstance(each, AliasPath) else each for each in choices), name]


def _sealed(value: Any, annotation: Any) -> Any:
    """Every text in a value that may be a secret as one; what is of another type is left for the model to refuse."""
    if not keeps_secret(annotation):
        return value
    inner = inner_model(annotation)
    if isinstance(value, Mapping):
        of_elements = _of_elements(annotation)
        return sealed(value, inner) if inner else {key: _sealed(each, of_elements) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_sealed(each, _of_elements(annotation)) for each in value]
    return SecretStr(value) if isinstance(value, str) else value


def _of_elements(annotation: Any) -> Any:
    """The annotation of what a container of secrets holds; of anything else, its own."""
    inside = [each for each in typing.get_args(annotation) if keeps_secret(each)]
    if not inside:
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return _of_elements(next((each for each in inside if typing.get_args(each)), inside[0]))
    return inside[0]


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    return [_shown(each) for each in value] if isinstance(value, list | tuple) else value


def _holds_secret(value: Any) -> bool:
    return isinstance(value, SecretStr) or (isinstance(value, list | tuple) and any(map(_holds_secret, value)))
