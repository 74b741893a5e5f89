"""Ends what a call started once the call is gone, however it went.

Prefect's temporary server outlives a killed caller: nobody tells it. `guard()` starts a process
that waits for the caller's end of a pipe to close and then kills every process that carries the
caller's mark in its environment. Linux only; elsewhere it does nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

MARK = "DREAMPOSE_CALL"


def guard() -> None:
    """Mark this process's future children and watch over them from beside."""
    if sys.platform != "linux":
        return
    os.environ[MARK] = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", __file__, os.environ[MARK]],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    _guards.append(process)  # the pipe stays open as long as this process lives


def end_children() -> None:
    """Kill everything that was started since `guard()`."""
    if MARK in os.environ:
        _end_all(os.environ[MARK])


_guards: list[subprocess.Popen[bytes]] = []


def _end_all(mark: str) -> None:
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    _end_all(sys.argv[1])
