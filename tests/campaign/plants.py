"""Faults planted on purpose, each in the process that is tried: a check that does not notice them is worth nothing."""

import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from memstack_models.training import manifest, one_file, run_folder
from memstack_models.training.trainer import Trainer

from memstack import ConfigError
from memstack.cli import group
from memstack.plugins import disk_cache, records
from memstack.plugins.registry import registry


def raising() -> None:
    """A recipe raises what nobody expects."""
    run_folder.recipe = _broken_recipe


def leaving() -> None:
    """A recipe is refused after a file has been written."""

    def recipe(*given: Any) -> Any:
        Path("left").write_text("behind", encoding="utf-8")
        raise ConfigError("refused, but not before something was written: mend it")

    run_folder.recipe = recipe


def hanging() -> None:
    """A recipe is never read to its end."""

    def recipe(*given: Any) -> Any:
        time.sleep(1e6)

    run_folder.recipe = recipe


def dying() -> None:
    """A recipe, or a checkpoint, ends the process."""
    run_folder.recipe = run_folder.find = lambda *given: os.abort()


def two_lines() -> None:
    """A refusal has two lines."""
    group._complain = lambda message: sys.stderr.write(f"error: {message}\nand more\n")


def other_random_numbers() -> None:
    """A resumed run does not take up the random numbers where they were."""
    resume = Trainer.resume

    def resumed(self: Trainer) -> None:
        resume(self)
        torch.manual_seed(12345)

    Trainer.resume = resumed


def log_not_rewound() -> None:
    """What a killed run logged after its checkpoint stays in the log."""
    run_folder.rewind_log = lambda folder, step: None


def no_digest() -> None:
    """A checkpoint's content is not compared with its digest."""
    one_file._digest = lambda *given: _Everything()
    one_file.is_of = manifest.is_of = lambda *given: True


class _Everything(str):
    """A text that equals any other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def no_lock() -> None:
    """Everybody may train in any folder."""
    fcntl.flock = lambda handle, how: None
    fcntl.lockf = lambda handle, how, *more: None


def cache_unchecked() -> None:
    """What lies in the cache is taken as it is."""
    disk_cache._read = lambda path: path.read_bytes()[disk_cache.DIGEST_SIZE :] if path.exists() else None


def written_in_place() -> None:
    """Text files are not written aside and renamed."""
    for module in (records, run_folder):
        setattr(module, "write_whole", lambda path, text: path.write_text(text, encoding="utf-8") and None)  # noqa: B010 - either module


def leaking() -> None:
    """Every step and every add keeps some memory."""
    kept: list[bytes] = []
    _also(lambda: kept.append(os.urandom(16384)))


def holding_files() -> None:
    """Every step and every add keeps a file open."""
    _also(lambda: os.dup(0))


def _also(what: Callable[[], object]) -> None:
    """Have a training step, and an add to an exact memory, do this as well."""
    for owner, name in ((Trainer, "advance"), (registry().backend_class("exact"), "add")):
        setattr(owner, name, _followed(getattr(owner, name), what))


def _followed(verb: Callable[..., Any], what: Callable[[], object]) -> Callable[..., Any]:
    def verb_and_more(*given: Any, **named: Any) -> Any:
        made = verb(*given, **named)
        what()
        return made

    return verb_and_more


def _broken_recipe(*given: Any) -> Any:
    raise ZeroDivisionError("planted")


PLANTS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        *(raising, leaving, hanging, dying, two_lines, other_random_numbers, log_not_rewound, no_digest, no_lock),
        *(cache_unchecked, written_in_place, leaking, holding_files),
    )
}
