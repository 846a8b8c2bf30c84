"""TOML -> validated, frozen, strict configuration. One file, one ``--set a.b=c``, no globals."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator
from pydantic_core import to_jsonable_python

from memstack.contract.errors import ConfigError, did_you_mean
from memstack.plugins.config_text import DEEPEST, QUOTED, check_texts, parse_setting, quoted, read_toml
from memstack.plugins.placement import PLACEMENT
from memstack.plugins.secrets import fields_of, inner_model, keeps_secret, without_secrets


class Frozen(BaseModel):
    """Base of every configuration section: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbeConfig(Frozen):
    """The ``[memory.probe]`` section: how an approximate backend's recall is watched during training."""

    every: NonNegativeInt = 100
    """Searches of a memory from one comparison with exact search to the next; 0 compares none."""
    sampled: int = Field(default=64, gt=0, le=2**20)
    """Queries of a search that are compared, per row and head."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The recall below which something is done."""
    below: Literal["warn", "fallback"] = "warn"
    """What is done: a warning; or, as well, exact search until a later comparison reaches the floor again."""


class StoreConfig(Frozen):
    """The ``[memory.store]`` section: a store that all rows read beside what they remember themselves.

    Its place alone will do: ``memory.store=PLACE``.
    """

    place: Annotated[str, Field(min_length=1)]
    """The folder or the url that it was built in."""
    alone: bool = False
    """Search it alone: what is read is not remembered."""
    backend: str | None = None
    """What searches it; by default ``memory.backend`` with its options, or what keeps its entries."""
    options: dict[str, Any] = {}
    """Of that backend; beside its own, a secret's environment variable for one, of what keeps the entries."""

    @model_validator(mode="before")
    @classmethod
    def _by_place(cls, given: Any) -> Any:
        return {"place": str(given)} if isinstance(given, str | Path) else given


class MemoryConfig(Frozen):
    """The ``[memory]`` section: which backend, how large, how many neighbours."""

    backend: str = "exact"
    """Name of a registered backend; ``memstack backends`` lists them."""
    capacity: int = Field(default=8192, gt=0, lt=2**62)
    """Entries per row and head; the oldest leave first."""
    neighbours: int = Field(default=32, gt=0, le=2**16)
    """Entries retrieved per query (k)."""
    options: dict[str, Any] = {}
    """Exactly the fields of that backend's Options."""
    probe: ProbeConfig = ProbeConfig()
    shards: Annotated[int, Field(gt=0, le=2**16), PLACEMENT] = 1
    """Ranks of torch.distributed that hold a memory together, each a part of its entries; they divide the ranks."""
    shard_limit: Annotated[float, Field(gt=0, le=1e6), PLACEMENT] = 60.0
    """Seconds after which a rank that says nothing to the others is an error on them."""
    store: StoreConfig | None = None
    """A store as ``memstack build-store`` writes it, which every row reads as well: its folder or url, or the section
    ``[memory.store]``. For evaluation."""


Config = TypeVar("Config", bound=BaseModel)


def load(model: type[Config], path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML file into ``model``, after applying ``a.b=value`` overrides; ConfigError names file, key and mend.

    Where an override is what is wrong, it is named instead of the file.
    """
    tree, given = read_toml(path), list(overrides)
    check_texts(tree, str(path))
    changed = apply(tree, given)
    try:
        return model.model_validate(changed)
    except ValidationError as error:
        origin = _settings_to_blame(model, tree, given, error) or f"{path}: "
        raise ConfigError(f"{origin}{first_problem(error, model)}") from None


def validate(model: type[Config], tree: Mapping[str, Any], origin: str) -> Config:
    """Validate a tree of plain values; ``origin`` says in the error where it came from."""
    check_texts(tree, origin)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {first_problem(error, model)}") from None


def apply(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return the tree with every ``a.b=value`` applied; values are TOML, a bare word is a string."""
    result = _copied(tree)
    for override in overrides:
        path, equals, text = override.partition("=")
        names = [part.strip() for part in path.split(".")]
        if not equals or not all(names) or len(names) > DEEPEST:
            # Of what it should be set to, which may be a secret, nothing; without a key there is none.
            came = f"{path}=..." if equals else override
            raise ConfigError(f"a setting is key=value, such as memory.backend=hnsw; got {quoted(came)}")
        section = result
        for name in names[:-1]:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{path.strip()}: {name} is a value, not a section")
        section[names[-1]] = parse_setting(path.strip(), text.strip())
    check_texts(result, "--set")
    return result


def dump(config: BaseModel) -> str:
    """Return the configuration as TOML, every key resolved, so that a run can be made again; secrets are left out.

    ConfigError for a path that is not UTF-8, which no TOML file holds.
    """
    tree = plain(config)
    check_texts(tree, "the configuration")
    return tomli_w.dumps(tree)


def plain(config: BaseModel) -> dict[str, Any]:
    """Return the configuration as plain values, every key resolved, without what is None and without secrets."""
    return to_jsonable_python(without_secrets(config.model_dump(exclude_none=True)))


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Return pydantic's first complaint as ``dotted.path: what is wrong``; for an unknown key, the nearest known.

    What came is quoted unless a secret is expected there.
    """
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        reason = " ".join(problem["msg"].removeprefix("Value error, ").split())
        unsaid = problem["type"] in ("missing", "value_error") or _is_hidden(model, path)
        came = "" if unsaid else f", got {quoted(problem['input'])}"
        return f"{_dotted(path)}: {reason}{came}" if path else f"{reason}{came}"
    known = list(_fields_at(model, path[:-1]))
    hint = did_you_mean(path[-1][:QUOTED], known)
    return f"{_dotted(path)} is not a known key{hint} (known: {', '.join(known)})"


def _settings_to_blame(
    model: type[Config], tree: Mapping[str, Any], overrides: list[str], error: ValidationError
) -> str:
    """``--set``, with the keys if the error does not name one, unless it is the file that is wrong."""
    at = [str(part) for part in error.errors()[0]["loc"]]
    keys = [[part.strip() for part in each.partition("=")[0].split(".")] for each in overrides]
    if any(at[: len(key)] == key for key in keys):
        return "--set "
    inside = [".".join(key) for key in keys if key[: len(at)] == at]
    return f"--set {' and '.join(inside)}: " if inside and _is_valid(model, tree) else ""


def _is_valid(model: type[Config], tree: Mapping[str, Any]) -> bool:
    try:
        model.model_validate(tree)
    except ValidationError:
        return False
    return True


def _dotted(path: list[str]) -> str:
    """A path of keys as text in one line."""
    text = ".".join(path)
    return text if text.isprintable() and len(text) <= QUOTED else quoted(text)


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
