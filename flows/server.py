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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.request import OpenerDirector, ProxyHandler, build_opener

from common.errors import InputError

HOST = "127.0.0.1"
_HOME = Path("data/prefect")
_SERVED, _WORKER = _HOME / "server", _HOME / "worker"
BEAT_SECONDS = 30
_START_SECONDS, _END_SECONDS = 600, 1
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


def begin() -> Callable[[], None]:
    """Start a server for this command alone, unless the user has set one.

    It takes its time, which can be used: what is returned waits until the server answers.
    """
    for_one_command()
    if os.environ.get("PREFECT_API_URL"):
        return lambda: None
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    _HOME.mkdir(parents=True, exist_ok=True)
    process, log = _start_server(port, _HOME, "--no-services", "--no-ui")
    return lambda: _wait_for(port, process, log)


@contextmanager
def running(port: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start the workspace's server and point this process at it.

    Yields the UI's address and the processes that are ended with the block, last ones first.
    Raises InputError where the port is taken or the server does not start.
    """
    _SERVED.mkdir(parents=True, exist_ok=True)
    _require_free(port)
    os.environ.update(PREFECT_HOME=str(_SERVED.absolute()), **_ALWAYS)
    process, log = _start_server(port, _SERVED)
    processes = [process]
    try:
        _wait_for(port, process, log)
        yield f"http://{HOST}:{port}", processes
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            process.kill()
            process.wait()


def _start_server(port: int, folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    command = ("-m", "prefect", "server", "start", "--host", HOST, "--port", str(port), *options)
    log = folder / "server.log"
    with open(log, "wb") as stream:
        return start(*command, output=stream), log


def require() -> None:
    """Raises InputError unless the environment names a server that answers."""
    url = os.environ.get("PREFECT_API_URL", "")
    try:
        with _opener().open(f"{url}/health", timeout=10):
            return
    except (OSError, ValueError):
        remedy = "set it to the coordinator's, http://HOST:4200/api, while dreampose serve runs"
        raise InputError(f"no server answers at PREFECT_API_URL ({url!r})", remedy) from None


def check_cron(cron: str) -> None:
    """Raises InputError at what Prefect cannot read as cron."""
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron)
    except ValueError:
        remedy = "five fields, such as '0 * * * *' for every full hour"
        raise InputError(f"params.yaml → inbox → cron: {cron!r} is no schedule", remedy) from None


def start_worker(pool: str) -> subprocess.Popen[bytes]:
    """Start a worker that takes one run of the pool at a time and says that it lives."""
    _WORKER.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        PREFECT_HOME=str(_WORKER.absolute()),
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(BEAT_SECONDS),
        **_ALWAYS,
    )
    worker = ("worker", "start", "--pool", pool, "--type", "process", "--limit", "1")
    return start("-m", "prefect", *worker)


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
    raise InputError("a part of the service ended", "see what it said above")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            raise InputError(f"port {port} cannot be had", "give another one: --port N") from None


def _opener() -> OpenerDirector:
    return build_opener(ProxyHandler({}))


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), _opener().open(f"http://{HOST}:{port}/api/health", timeout=5):
            return
        time.sleep(0.2)
    raise InputError("Prefect's server does not start", f"see {log}")
