"""From TOML text to plain values: whatever the file or the text is, what is wrong with it is one line."""

import codecs
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memstack.contract.errors import ConfigError
from memstack.plugins.paths import read_ordinary

LONGEST = 100_000
"""Bytes of a configuration file: none is nearly so long, and a reader's time grows with its square."""
DEEPEST, QUOTED = 32, 100
"""Sections in one another, and characters of a value in an error."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, with or without a byte order mark; ConfigError says what it is instead."""
    try:
        content = read_ordinary(path, LONGEST)
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error.strerror}") from None
    return _parsed(_text_of(content, path), f"{path} is not valid TOML")


def parse_setting(key: str, text: str) -> Any:
    """Return a setting's text as the TOML value that it is, or as it stands: a bare word is a string.

    ConfigError for a number or for brackets that no reader takes.
    """
    try:
        tree = _parsed(f"value = {text}", f"--set {key}")
    except ConfigError as error:
        if isinstance(error.__cause__, tomllib.TOMLDecodeError):
            return text
        raise
    # A second line would be another setting, and be lost.
    return tree["value"] if len(tree) == 1 else text


def check_texts(tree: Mapping[str, Any], origin: str) -> None:
    """ConfigError for what nothing takes: a NUL, half of a surrogate pair, sections and numbers without end."""
    left: list[tuple[str, Any, int]] = [("", tree, 0)]
    while left:
        where, value, depth = left.pop()
        if depth > DEEPEST:
            raise ConfigError(f"{origin}: {quoted(where)} lies deeper than {DEEPEST} sections or brackets")
        if isinstance(value, str) and (odd := _odd_character(value)):
            raise ConfigError(f"{origin}: {where} holds {odd!r}, which is no text in UTF-8: leave it out")
        if isinstance(value, int) and value.bit_length() > 64:
            raise ConfigError(f"{origin}: {where} is a number of more than 64 bits: choose a smaller one")
        inner: list[tuple[str, Any]] = []
        if isinstance(value, Mapping):
            inner = [(f"{where}.{key}".lstrip("."), each) for key, each in value.items()]
            left += [(f"a key in {where or 'it'}", key, depth) for key in value]
        elif isinstance(value, list | tuple):
            inner = [(where, each) for each in value]
        left += [(name, each, depth + 1) for name, each in inner]


def quoted(value: Any) -> str:
    """Return what came as an error quotes it: in one line, and no longer than anybody reads."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits has no text
        return f"{type(value).__name__} that is too long to be shown"
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}... ({len(text):,} characters)"


def _text_of(content: bytes, path: Path) -> str:
    if content.startswith(UTF_16):
        raise ConfigError(f"{path} is in UTF-16: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None
    if "\0" in text:
        raise ConfigError(f"{path} holds NUL characters: it is damaged, or no text; use another copy")
    return text


def _parsed(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{what}: there are too many brackets in one another") from error
    except ValueError as error:  # of which TOMLDecodeError is one; too many digits are another
        raise ConfigError(f"{what}: {' '.join(str(error).split())}") from error


def _odd_character(text: str) -> str | None:
    if "\0" in text:
        return "\0"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return None
