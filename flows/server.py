"""How Prefect is set up: for one command of its own, and as the server of a workspace.

The server has a database of its own, beside that of the single commands, and listens to this
machine only.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.request import ProxyHandler, build_opener

from common.errors import InputError

HOST = "127.0.0.1"
_HOME = Path("data/prefect")
_SERVED = _HOME / "server"
_START_SECONDS, _END_SECONDS = 180, 1
_ALWAYS = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def for_one_command() -> None:
    """Prefect's settings for one command of its own; what the user has set stays."""
    for name, value in {
        "PREFECT_HOME": str(_HOME.absolute()),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        **_ALWAYS,
    }.items():
        os.environ.setdefault(name, value)


@contextmanager
def running(port: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start the workspace's server and point this process at it.

    Yields the UI's address and the processes that are ended with the block, last ones first.
    Raises InputError where the port is taken or the server does not start.
    """
    _SERVED.mkdir(parents=True, exist_ok=True)
    _require_free(port)
    address = f"http://{HOST}:{port}"
    os.environ.update(
        PREFECT_HOME=str(_SERVED.absolute()), PREFECT_API_URL=f"{address}/api", **_ALWAYS
    )
    log = _SERVED / "server.log"
    command = ("-m", "prefect", "server", "start", "--host", HOST, "--port", str(port))
    with open(log, "wb") as stream:
        processes = [start(*command, output=stream)]
    try:
        _wait_for(f"{address}/api/health", processes[0], log)
        yield address, processes
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            process.kill()
            process.wait()


def start(*arguments: str, output: BinaryIO | None = None) -> subprocess.Popen[bytes]:
    """Start a Python program that no key on the terminal reaches."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for_an_end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until one of these processes ends, which none should. Raises InputError then."""
    while all(process.poll() is None for process in processes):
        time.sleep(0.5)
    raise InputError("a part of the service ended", f"see above and {_SERVED / 'server.log'}")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            raise InputError(f"port {port} cannot be had", "give another one: --port N") from None


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), opener.open(url, timeout=5):
            return
        time.sleep(0.2)
    raise InputError("Prefect's server does not start", f"see {log}")
