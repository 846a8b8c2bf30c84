"""Small and read-only file systems, in a name space that ends with this process; where the system allows that."""

import ctypes
import os
from pathlib import Path

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)


def enter() -> str:
    """Leave the mounts of everybody else; returns why that cannot be, or nothing."""
    root, user, group = os.geteuid() == 0, os.geteuid(), os.getegid()
    if _LIBC.unshare(_NEW_MOUNTS if root else _NEW_MOUNTS | _NEW_USER):
        return f"this system allows no mounts ({os.strerror(ctypes.get_errno())})"
    if not root:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    return _mount("none", "/", None, _RECURSIVE | _PRIVATE, None)


def small(folder: Path, size: int) -> str:
    """Mount a file system of so many bytes on a folder; returns why that cannot be, or nothing."""
    return _mount("tmpfs", str(folder), "tmpfs", 0, f"size={size}")


def read_only(folder: Path) -> str:
    """Make a folder read-only, for root as well; returns why that cannot be, or nothing."""
    flags = _READ_ONLY | _REMOUNT | _BIND
    return _mount(str(folder), str(folder), None, _BIND, None) or _mount("none", str(folder), None, flags, None)


def unmount(folder: Path) -> None:
    """Undo a mount."""
    _LIBC.umount2(os.fsencode(folder), 2)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None) -> str:
    given = (None if text is None else os.fsencode(text) for text in (source, target, kind))
    failed = _LIBC.mount(*given, ctypes.c_ulong(flags), None if data is None else data.encode())
    return f"this system allows no mounts ({os.strerror(ctypes.get_errno())})" if failed else ""


def be_user(number: int) -> None:
    """Be called by another number, with the same rights on files; OSError where the system does not allow that."""
    user, group = os.geteuid(), os.getegid()
    if _LIBC.unshare(_NEW_USER):
        raise OSError(ctypes.get_errno(), "user name spaces are not allowed")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{number} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{number} {group} 1", encoding="ascii")
