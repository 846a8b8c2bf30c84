"""What can happen to a file: bits flip, ends are lost, blocks are zero or swapped, something else lies there."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[bytes, random.Random], bytes]
OTHERS = (
    *(
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        gzip.compress(b"something else", mtime=0),
        b"\x80\x04\x95.",
        b"PK\x03\x04" + bytes(40),
    ),
    *(b"{}", b"[]", b"null", b"<html></html>", b"\xef\xbb\xbf", b"\x7fELF" + bytes(60), b"version https://git-lfs\n"),
)
"""Beginnings of other formats."""


def flip(content: bytes, chance: random.Random) -> bytes:
    """One bit."""
    changed = bytearray(content or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flips(content: bytes, chance: random.Random) -> bytes:
    """Up to a hundred bits."""
    for _ in range(chance.randint(2, 100)):
        content = flip(content, chance)
    return content


def flip_begin(content: bytes, chance: random.Random) -> bytes:
    """One bit near the beginning, where most formats keep what they are."""
    at = min(len(content), 200)
    return flip(content[:at], chance) + content[at:]


def cut(content: bytes, chance: random.Random) -> bytes:
    """The end is lost."""
    return content[: chance.randrange(len(content) or 1)]


def cut_a_little(content: bytes, chance: random.Random) -> bytes:
    """The last bytes are lost."""
    return content[: -chance.randint(1, 16)]


def emptied(content: bytes, chance: random.Random) -> bytes:
    """Everything is lost."""
    return b""


def zeros(content: bytes, chance: random.Random) -> bytes:
    """A block is zero, as after a power failure."""
    at, size = chance.randrange(len(content) or 1), chance.choice((1, 16, 512, 4096))
    return content[:at] + bytes(len(content[at : at + size])) + content[at + size :]


def all_zeros(content: bytes, chance: random.Random) -> bytes:
    """The size is right and nothing else."""
    return bytes(len(content))


def swapped(content: bytes, chance: random.Random) -> bytes:
    """Two blocks have changed places."""
    size = max(1, min(512, len(content) // 4))
    first, second = sorted(chance.sample(range(0, max(2, len(content) - size), 1), 2))
    second = max(second, first + size)
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]


def appended(content: bytes, chance: random.Random) -> bytes:
    """Something follows."""
    return content + chance.choice((b"\0", b"\n", b"x" * 100, chance.randbytes(64), content))


def another_format(content: bytes, chance: random.Random) -> bytes:
    """Another kind of file lies in its place."""
    return chance.choice(OTHERS)


def noise(content: bytes, chance: random.Random) -> bytes:
    """The size is right, and all bytes are of chance."""
    return chance.randbytes(len(content))


KINDS: tuple[Damage, ...] = (
    *(
        flip,
        flip,
        flips,
        flip_begin,
        cut,
        cut_a_little,
        emptied,
        zeros,
        all_zeros,
        swapped,
        appended,
        another_format,
        noise,
    ),
)


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file; returns how, or nothing if chance has left it as it was."""
    how, content = chance.choice(KINDS), path.read_bytes()
    changed = how(content, chance)
    if changed == content:
        return ""
    path.write_bytes(changed)
    return f"{path.name} ({len(content)} bytes): {(how.__doc__ or '').rstrip('.').lower()}"
