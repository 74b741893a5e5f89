"""Turns at the device: one stage that computes at a time on each, people before schedules.

Kernel file locks, not Prefect's limits: the kernel gives a lock back the moment its holder dies,
however it dies, needs no server, and holds across all workspaces of a machine. Where no lock can
be had nothing runs.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError
from tasks.graph import Address

STAGES = frozenset(
    {
        "densepose",
        "encode-clips",
        "finetune-base",
        "finetune-unet",
        "finetune-vae",
        "sample",
        "repose",
    }
)
_POLL_SECONDS = 0.2
_people = True


@contextmanager
def scheduled() -> Iterator[None]:
    """In this block stages stand back for those that somebody waits for."""
    global _people
    _people = False
    try:
        yield
    finally:
        _people = True


@contextmanager
def attended() -> Iterator[None]:
    """While this block runs scheduled stages on this device do not begin."""
    with _opened("people") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def turn(address: Address, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the device while the block runs, where the stage computes on it.

    `waiting` is told once where that takes a while.
    """
    if address.stage not in STAGES:
        yield
        return
    with _opened("device") as lock, _opened("people") as people:
        told = False
        while not _taken(lock, people):
            if not told:
                waiting(f"{_name()} is at work")
                told = True
            time.sleep(_POLL_SECONDS)
        yield


def _taken(lock: int, people: int) -> bool:
    """Try to take the device; work on schedule gives it back while people wait."""
    if not _try(lock):
        return False
    if _people:
        return True
    if _try(people):
        fcntl.flock(people, fcntl.LOCK_UN)
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _try(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _name() -> str:
    """The device that the stage programs take: the first that CUDA shows, or the processor."""
    return "device " + os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


@contextmanager
def _opened(what: str) -> Iterator[int]:
    """The descriptor of a lock file of this user and device."""
    folder = Path(tempfile.gettempdir()) / f"dreampose-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        raise InputError(f"{folder} is not ours", "remove it or set TMPDIR to your own")
    path = folder / re.sub(r"[^a-z0-9-]", "-", f"{_name()}-{what}".lower())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
