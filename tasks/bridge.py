"""The bridge to DVC: the one way anything of DVC's is run, as a subprocess of its own.

DVC decides whether a stage is stale and records what it did. The bridge adds what DVC lacks: the
program's own error and exit code (DVC answers 255 to everything), its progress while it runs,
whether it ran at all, and an end of all children when the caller is interrupted or killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import InputError
from common.program import die_with_parent
from common.progress import RUN_DIR
from tasks import cache, graph
from tasks.graph import Address

RUNS = Path("data/runs")
Outcome = Literal["ran", "restored", "unchanged"]
Listener = Callable[[dict[str, Any]], None]

_CHILD = (
    "import sys; from tasks.bridge import end_group_with_parent; end_group_with_parent(); "
    "from {module} import main; sys.exit(main(sys.argv[1:]))"
)
_DVC, _QUICK = (_CHILD.format(module=module) for module in ("dvc.cli", "tasks.dvc_quick"))
_POLL_SECONDS, _MERCY_SECONDS = 0.2, 3.0
_LOST = re.compile("(from|to) the cloud|failed to connect")
"""What DVC says of a remote that it cannot reach, and of one that lacks what is asked for."""
_LOST_SECONDS = (3.0, 10.0, 30.0)
stopping = threading.Event()
"""Set where this process is interrupted: stages that run in its other threads are ended too."""


@dataclass(frozen=True)
class StageRun:
    """What became of a stage: `restored` means that DVC's cache still held the result."""

    address: Address
    outcome: Outcome
    seconds: float


class StageError(Exception):
    """A stage that failed; `code` is its program's exit code where that is known, else 1."""

    def __init__(self, address: Address, problem: str, remedy: str, code: int = 1):
        super().__init__(address, problem, remedy, code)
        self.address, self.problem, self.remedy, self.code = address, problem, remedy, code

    def __str__(self) -> str:
        return f"{self.address}: {self.problem} — {self.remedy}"


class StageBusyError(StageError):
    """Another process works on the same stage or its files: worth another try later."""


def run_stage(
    address: Address, listener: Listener | None = None, *, pull: bool = False
) -> StageRun:
    """Bring one stage up to date. `listener` gets every line of the program's progress.

    With `pull` what another clone pushed to the DVC remote counts as cached. What came out of a
    damaged cache is thrown away and made again; DVC puts a cached file even in the place of one
    that was just made. Raises StageBusyError, or StageError; then the program's log stays in
    `data/runs`.
    """
    begin = time.monotonic()
    outcome = _repro(address, listener, pull)
    if outcome != "unchanged" and cache.drop_damaged(graph.locked([address])[address]["outs"]):
        outcome = _repro(address, listener, pull)
    return StageRun(address, outcome, time.monotonic() - begin)


def _repro(address: Address, listener: Listener | None, pull: bool) -> Outcome:
    RUNS.mkdir(parents=True, exist_ok=True)
    run_dir = Path(tempfile.mkdtemp(prefix=f"{address.stage}-", dir=RUNS)).absolute()
    target = graph.targets([address])[address]
    keep = False
    try:
        command = ["--wait-for-lock", "repro", *["--pull"] * pull, "--single-item", target]
        code = _run(_DVC, command, run_dir, listener)
        log = (run_dir / "log.txt").read_text(encoding="utf-8", errors="replace")
        if code and _is_busy(log):
            raise StageBusyError(address, _last_error(log), "try again when that has ended")
        if code:
            keep = True
            raise _error(address, log, run_dir)
    finally:
        if not keep:
            shutil.rmtree(run_dir)
    return _outcome(target, log)


def run_pipeline(target: str, listener: Listener | None = None) -> None:
    """Bring a stage `FOLDER/dvc.yaml:STAGE` outside the catalog, and all it needs, up to date.

    Raises StageError.
    """
    RUNS.mkdir(parents=True, exist_ok=True)
    run_dir = Path(tempfile.mkdtemp(prefix="pipeline-", dir=RUNS)).absolute()
    code = _run(_DVC, ["--wait-for-lock", "repro", target], run_dir, listener)
    if code:
        log = (run_dir / "log.txt").read_text(encoding="utf-8", errors="replace")
        folder, _, stage = target.rpartition("/dvc.yaml:")
        raise _error(Address(stage, folder), log, run_dir)
    shutil.rmtree(run_dir)


def stale(addresses: Iterable[Address]) -> dict[Address, list[Any]]:
    """The stages among these that DVC would run or restore, with its reasons; in one process."""
    names = {target: address for address, target in graph.targets(addresses).items()}
    with _scratch() as run_dir:
        code = _run(_QUICK, ["status", *names], run_dir)
        log = (run_dir / "log.txt").read_text(encoding="utf-8")
    if code:
        raise InputError(f"DVC cannot read this workspace: {_last_error(log)}", "run: dvc status")
    reasons = json.loads(log.splitlines()[-1])
    return {names[target]: reasons[target] for target in names if target in reasons}


def add(*paths: Path) -> None:
    """Put files under DVC's care: their bytes go to the cache, `path`.dvc names them."""
    names = [str(path) for path in paths]
    with _scratch() as run_dir:
        code = _run(_QUICK, ["add", *names], run_dir)
        log = (run_dir / "log.txt").read_text(encoding="utf-8")
    if code:
        said = f"DVC cannot take {' '.join(names)}: {_last_error(log)}"
        raise InputError(said, f"run: dvc add {' '.join(names)}")


def push(targets: Iterable[str]) -> None:
    """Bring outputs, and the record of what made them, to the DVC remote.

    A target is a `.dvc` file or a stage, `FOLDER/dvc.yaml:STAGE`.
    """
    _exchange("push", "--run-cache", *targets)


def pull(targets: Iterable[str]) -> None:
    """Get what these `.dvc` files name from the DVC remote."""
    _exchange("pull", *targets)


def _exchange(verb: str, *arguments: str) -> None:
    """Push or pull; what may be a lost connection is tried again. Raises InputError."""
    for patience in (*_LOST_SECONDS, None):
        with _scratch() as run_dir:
            code = _run(_DVC, ["--wait-for-lock", verb, *arguments], run_dir)
            log = (run_dir / "log.txt").read_text(encoding="utf-8", errors="replace")
        if not code:
            return
        if patience is None or not _LOST.search(log):
            break
        time.sleep(patience)
    problem = f"DVC cannot {verb}: {_last_error(log)}"
    raise InputError(problem, "set a remote that all clones reach: dvc remote add -d NAME URL")


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dreampose-") as folder:
        yield Path(folder)


def _run(child: str, arguments: list[str], run_dir: Path, listener: Listener | None = None) -> int:
    """Run Python code with its output in `run_dir`/log.txt; returns its exit code."""
    bin_dir = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_dir}{os.pathsep}{os.environ.get('PATH', '')}",
        RUN_DIR: str(run_dir),
    }
    with open(run_dir / "log.txt", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", child, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = _ProgressReader(run_dir / "progress.jsonl", listener)
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(_POLL_SECONDS)
                if stopping.is_set():
                    raise KeyboardInterrupt
                reader.read()
        finally:
            _end(process)


def end_group_with_parent() -> None:
    """End this process and its whole group when its parent dies, however it dies.

    The group and not the child: between DVC and a stage there may be a shell that tells nobody.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    die_with_parent()


class _ProgressReader:
    """Hands whole new lines of a growing JSON-lines file to a listener."""

    def __init__(self, path: Path, listener: Listener | None):
        self.path, self.listener, self.position = path, listener, 0

    def read(self) -> None:
        if not self.listener or not self.path.exists():
            return
        with open(self.path, "rb") as stream:
            stream.seek(self.position)
            whole = stream.read().rpartition(b"\n")[0]
        if whole:
            self.position += len(whole) + 1
            self.listener(json.loads(whole.splitlines()[-1]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started: DVC waits for its stage, so asking it is enough
    for programs that end on an interrupt."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_MERCY_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _outcome(target: str, log: str) -> Outcome:
    if f"Running stage '{target}':" in log:
        return "ran"
    return "restored" if f"Stage '{target}' is cached" in log else "unchanged"


def _error(address: Address, log: str, run_dir: Path) -> StageError:
    """The program's own error where it left one, else what DVC said."""
    with suppress(OSError, ValueError):
        report = json.loads((run_dir / "error.json").read_text(encoding="utf-8"))
        return StageError(address, report["problem"], report["remedy"], report["code"])
    return StageError(address, _last_error(log), f"the whole output is in {run_dir / 'log.txt'}")


def _is_busy(log: str) -> bool:
    return "is busy, it is being blocked by" in log or "Unable to acquire lock" in log


def _last_error(log: str) -> str:
    """The last thing DVC complained about, with its indented lines."""
    errors = re.findall(r"ERROR: (.+(?:\n +.+)*)", log)
    return " ".join(errors[-1].split()) if errors else "it ended without a word"
