"""TOML -> validated, frozen, strict configuration. One file, one ``--set a.b=c``, no globals."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic_core import to_jsonable_python

from memstack.contract.errors import ConfigError, did_you_mean
from memstack.plugins.secrets import fields_of, inner_model, keeps_secret, without_secrets


class Frozen(BaseModel):
    """Base of every configuration section: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbeConfig(Frozen):
    """The ``[memory.probe]`` section: how an approximate backend's recall is watched during training."""

    every: NonNegativeInt = 100
    """Searches of a memory from one comparison with exact search to the next; 0 compares none."""
    sampled: PositiveInt = 64
    """Queries of a search that are compared, per row and head."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The recall below which something is done."""
    below: Literal["warn", "fallback"] = "warn"
    """What is done: a warning; or, as well, exact search until a later comparison reaches the floor again."""


class MemoryConfig(Frozen):
    """The ``[memory]`` section: which backend, how large, how many neighbours."""

    backend: str = "exact"
    """Name of a registered backend; ``memstack backends`` lists them."""
    capacity: PositiveInt = 8192
    """Entries per row and head; the oldest leave first."""
    neighbours: PositiveInt = 32
    """Entries retrieved per query (k)."""
    options: dict[str, Any] = {}
    """Exactly the fields of that backend's Options."""
    probe: ProbeConfig = ProbeConfig()


Config = TypeVar("Config", bound=BaseModel)


def load(model: type[Config], path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML file into ``model``, after applying ``a.b=value`` overrides; ConfigError names file, key and mend."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return validate(model, apply(tree, overrides), str(path))


def validate(model: type[Config], tree: Mapping[str, Any], origin: str) -> Config:
    """Validate a tree of plain values; ``origin`` says in the error where it came from."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {first_problem(error, model)}") from None


def apply(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return the tree with every ``a.b=value`` applied; values are TOML, a bare word is a string."""
    result = _copied(tree)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"a setting is key=value, such as memory.backend=hnsw; got {override!r}")
        *parents, last = [part.strip() for part in path.split(".")]
        section = result
        for name in parents:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                # Without what it should be set to, which may be a secret.
                raise ConfigError(f"{path.strip()}: {name} is a value, not a section")
        section[last] = _value(text.strip())
    return result


def dump(config: BaseModel) -> str:
    """Return the configuration as TOML, every key resolved, so that a run can be made again; secrets are left out."""
    return tomli_w.dumps(plain(config))


def plain(config: BaseModel) -> dict[str, Any]:
    """Return the configuration as plain values, every key resolved, without what is None and without secrets."""
    return to_jsonable_python(without_secrets(config.model_dump(exclude_none=True)))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Return pydantic's first complaint as ``dotted.path: what is wrong``; for an unknown key, the nearest known.

    What came is quoted unless a secret is expected there.
    """
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        reason = problem["msg"].removeprefix("Value error, ")
        unsaid = problem["type"] in ("missing", "value_error") or _is_hidden(model, path)
        came = "" if unsaid else f", got {problem['input']!r}"
        return f"{'.'.join(path)}: {reason}{came}" if path else f"{reason}{came}"
    known = list(_fields_at(model, path[:-1]))
    hint = did_you_mean(path[-1], known)
    return f"{'.'.join(path)} is not a known key{hint} (known: {', '.join(known)})"


def _fields_at(model: type[BaseModel], path: list[str]) -> dict[str, Any]:
    """Follow a dotted path through nested models; the fields there."""
    for name in path:
        if name in model.model_fields:
            model = inner_model(model.model_fields[name].annotation) or model
    return dict(model.model_fields)


def _is_hidden(model: type[BaseModel], path: list[str]) -> bool:
    """True if the field that a path leads to, as far as it leads through models, keeps a secret."""
    annotation: Any = None
    for name in path:
        if name not in fields_of(model):
            break
        annotation = fields_of(model)[name].annotation
        model = inner_model(annotation) or model
    return keeps_secret(annotation)
