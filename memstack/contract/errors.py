"""One class per mistake; every message is one readable line that says what came, what was expected and what to do."""

import difflib
import textwrap
from collections.abc import Iterable


class MemstackError(Exception):
    """Base of all errors that memstack raises on purpose."""


class ShapeError(MemstackError, ValueError):
    """A tensor or a size does not fit the memory it is meant for."""


class NonFiniteError(MemstackError, ValueError):
    """A key or a value is NaN or infinite, or would be in the store: no score and no sum with it means anything."""


class StaleResultError(MemstackError, RuntimeError):
    """A search result was used after the memory it belongs to had changed."""


class StateError(MemstackError, ValueError):
    """A saved memory does not fit the memory that should load it."""


class LayerError(MemstackError, KeyError):
    """A layer has no memory in this bank, or was given nothing to write to the one it has."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError would print its message quoted, as if it were the key


class CommitError(MemstackError, RuntimeError):
    """Some memories of a bank could not be written; it says which, and the others were."""


class UnknownBackendError(MemstackError, LookupError):
    """No plugin offers a backend of that name."""


class DuplicateBackendError(MemstackError):
    """Two plugins offer a backend of the same name."""


class DuplicateCommandError(MemstackError):
    """Two plugins offer a command of the same name."""


class UnknownCommandError(MemstackError, LookupError):
    """Neither memstack nor a plugin offers a command of that name."""


class BackendUnavailableError(MemstackError, ImportError):
    """The backend is registered, but a library it needs is not installed."""


class CorpusError(MemstackError, ValueError):
    """Documents, or a tokeniser for them, cannot be used."""


class UnknownCorpusError(CorpusError, LookupError):
    """No plugin offers a corpus of that name."""


class DuplicateCorpusError(MemstackError):
    """Two plugins offer a corpus of the same name."""


class CorpusUnavailableError(MemstackError, ImportError):
    """The corpus is registered, but a library it needs is not installed."""


class CopyError(MemstackError, TypeError):
    """A memory cannot be copied, for it holds what cannot be."""


class ForkError(MemstackError, RuntimeError):
    """A memory is used in a process that was forked from its own, into which what it needs did not come along."""


class ShardError(MemstackError, RuntimeError):
    """Of the ranks that a memory lies on one is gone, stands still or is out of step; or there are no such ranks."""


class MemoryUnavailableError(MemstackError, ConnectionError):
    """The store of a remote memory cannot be used: it did not answer for too long, or refuses what it is asked."""


class UnreachableError(MemstackError, ConnectionError):
    """A remote store did not do what it was asked, and may do so if it is asked again."""


class OptionsError(MemstackError, ValueError):
    """A backend or a corpus was given an option it does not have, or a value it cannot use."""


class ConfigError(MemstackError, ValueError):
    """A configuration file or a ``--set`` override is wrong."""


class CacheError(MemstackError, OSError):
    """The folder in which slow things are kept cannot be written."""


class RecordError(MemstackError, ValueError):
    """A file is not the record it should be: damaged, of another kind, or of a version that is not known."""


class ScaffoldError(MemstackError, ValueError):
    """A plugin cannot be written under that name or into that folder."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known words, or nothing when none is near."""
    near = difflib.get_close_matches(word, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def printable(text: str) -> str:
    """Return a text in one line that any file or terminal takes: what cannot be printed is escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def cut(text: str, longest: int = 1000) -> str:
    """Return a text of at most so many characters: what is in the middle of a longer one is left out."""
    if len(text) <= longest:
        return text
    left_out = f" [{len(text) - longest:,} characters left out] "
    head = 2 * (longest - len(left_out)) // 3
    return f"{text[:head]}{left_out}{text[len(text) - (longest - len(left_out) - head) :]}"


def in_one_line(error: BaseException) -> str:
    """Return an error's class and message as one line of at most 300 characters."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error of a stranger may fail at that as well
        text = "it does not say what went wrong"
    return f"{type(error).__name__}: {textwrap.shorten(text, 300)}"
