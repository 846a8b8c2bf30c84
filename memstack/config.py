"""TOML -> validated, frozen, strict configuration. One file, one ``--set a.b=c``, no globals."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from memstack.errors import ConfigError
from memstack.validation import first_problem


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
                raise ConfigError(f"{path}={text}: {name} is a value, not a section")
        section[last] = _value(text.strip())
    return result


def dump(config: BaseModel) -> str:
    """Return the configuration as TOML, every key resolved, so that a run can be made again."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
