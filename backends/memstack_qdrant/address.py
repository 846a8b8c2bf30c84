"""Where a cluster is, and the key that it asks for."""

import os
import re
from typing import NamedTuple

PORT = 6334
"""Of a server's gRPC, which is not that of its REST."""
URL = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?/?", re.ASCII)


class Address(NamedTuple):
    """A server's gRPC."""

    target: str
    """Host and port."""
    encrypted: bool


def address(url: str) -> Address:
    """Return the address that a URL names; ValueError, in one line, if it names none."""
    if "@" in url:
        raise ValueError("a url holds no password: name the variable that has the key with api_key_env")
    found = URL.fullmatch(url)
    if found is None or not 0 < int(found["port"] or PORT) < 1 << 16:
        raise ValueError(f"the url {url!r} is none of a server: expected http://HOST:{PORT}, or https:// for TLS")
    return Address(f"{found['host']}:{found['port'] or PORT}", found["scheme"] == "https")


def api_key(variable: str | None) -> str | None:
    """Return what an environment variable holds; ValueError if there is none of that name."""
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise ValueError(f"api_key_env names the environment variable {variable!r}, which is not set or empty")
    return os.environ[variable]
