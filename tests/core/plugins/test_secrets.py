"""A backend's secrets: recognised by its Options, taken from the environment, never printed and never dumped."""

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.vault import SECRET, VARIABLE, Proxy, VaultMemory, installed
from memstack_models.training.config import RunConfig
from pydantic import AliasChoices, ConfigDict, Field, SecretStr

from memstack import ConfigError, MemoryShape, OptionsError, create_memory
from memstack.measure.sweep import label
from memstack.plugins import secrets
from memstack.plugins.config import Frozen, MemoryConfig, apply, dump, plain
from memstack.plugins.registry import registry

SHAPE = MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=8)
GIVEN: dict[str, Any] = {
    "api_key": SECRET,
    "proxy": {"host": "there", "password": SECRET},
    "tokens": [SECRET, SECRET],
    "effort": 2,
}


@pytest.fixture(autouse=True)
def _vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    with installed():
        yield


def test_secrets_are_sealed_wherever_they_are() -> None:
    sealed = registry().sealed("my-vault", GIVEN)
    assert SECRET not in repr(sealed)
    assert sealed["api_key"] == sealed["proxy"]["password"] == sealed["tokens"][1] == SecretStr(SECRET)
    assert (sealed["proxy"]["host"], sealed["effort"]) == ("there", 2)
    assert registry().sealed("my-vault", sealed) == sealed
    assert registry().options("my-vault", sealed) == registry().options("my-vault", GIVEN)
    assert label("my-vault", {"api_key": sealed["api_key"], "effort": 2}) == "my-vault, api_key=**********, effort=2"


def test_what_other_backends_are_given_is_left_alone() -> None:
    given = {"block": 64, "dtype": "bfloat16", "unknown": {"a": [1, "text"]}}
    assert registry().sealed("exact", given) == given


def test_a_dump_has_no_secrets() -> None:
    memory = MemoryConfig(backend="my-vault", options=registry().sealed("my-vault", GIVEN))
    run = RunConfig.model_validate({"model": {"preset": "tiny"}, "memory": memory})
    assert SECRET not in dump(run)
    assert "**" not in dump(run)
    assert plain(run)["memory"]["options"] == {"proxy": {"host": "there"}, "effort": 2}
    assert "api_key" not in dump(VaultMemory.Options.model_validate(GIVEN))
    assert plain(Proxy(password=SecretStr(SECRET))) == {"host": "localhost"}


def test_a_secret_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    assert create_memory("my-vault", SHAPE).lengths.tolist() == [0]
    with pytest.raises(PermissionError):
        create_memory("my-vault", SHAPE, api_key="another")  # what is given comes first


def test_a_missing_secret_is_said_with_the_two_ways_to_give_it() -> None:
    told = (
        r"backend 'my-vault': the secret api_key is missing, and no file keeps it: give it with "
        rf"--set memory\.options\.api_key=\.\.\. or in the environment variable {VARIABLE}$"
    )
    with pytest.raises(OptionsError, match=told):
        create_memory("my-vault", SHAPE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": 31337_31337},
        {"api_key": [SECRET]},
        {"api_key": {"is": SECRET}},
        {"api_key": SECRET, "proxy": SECRET},
        {"api_key": SECRET, "proxy": {"password": {"is": SECRET}}},
        {"api_key": SECRET, "tokens": SECRET},
        {"api_key": SECRET, "tokens": [3133731337]},
        {"api_kye": SECRET},
        {"api_key": SECRET, "effort": "much"},
    ],
    ids=str,
)
def test_no_error_quotes_a_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionsError) as caught:
        registry().options("my-vault", wrong)
    assert SECRET not in str(caught.value)
    assert "3133731337" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("got 'much'" in str(caught.value)) == ("effort" in wrong)


def test_an_override_that_leads_nowhere_is_told_without_its_value() -> None:
    with pytest.raises(ConfigError, match=r"memory\.backend\.api_key: backend is a value, not a section") as caught:
        apply({"memory": {"backend": "my-vault"}}, [f"memory.backend.api_key={SECRET}"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "kept"),
    [
        (SecretStr, True),
        (SecretStr | None, True),
        (list[SecretStr], True),
        (dict[str, SecretStr], True),
        (Proxy, True),
        (Proxy | None, True),
        (str, False),
        (list[int] | None, False),
        (MemoryConfig, False),
        (Any, False),
    ],
    ids=str,
)
def test_annotations_that_keep_secrets(annotation: Any, kept: bool) -> None:
    assert secrets.keeps_secret(annotation) is kept


class Server(Frozen):
    """One of many."""

    url: str
    token: SecretStr


class Many(Frozen):
    """Secrets under every name that pydantic knows, and inside of containers."""

    model_config = ConfigDict(populate_by_name=True)

    key: SecretStr = Field(default=SecretStr(""), alias="apiKey")
    word: SecretStr = Field(default=SecretStr(""), validation_alias=AliasChoices("pass", "password"))
    servers: tuple[Server, ...] = ()
    named: dict[str, Server] | None = None


@pytest.mark.parametrize("name", ["key", "apiKey", "word", "pass", "password"])
def test_a_secret_is_sealed_under_each_of_its_names(name: str) -> None:
    sealed = secrets.sealed({name: SECRET}, Many)
    assert sealed == {name: SecretStr(SECRET)}
    assert Many.model_validate(sealed) == Many.model_validate({name: SECRET})


def test_secrets_inside_of_containers_are_left_out_and_the_rest_is_kept() -> None:
    server = {"url": "there", "token": SECRET}
    given = {"servers": [server, server], "named": {"first": server}}
    sealed = secrets.sealed(given, Many)
    assert SECRET not in repr(sealed)
    assert Many.model_validate(sealed) == Many.model_validate(given)
    shown = {"url": "there"}
    assert secrets.without_secrets(sealed) == {"servers": [shown, shown], "named": {"first": shown}}
