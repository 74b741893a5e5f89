"""A room's command line: one dataclass a verb, its fields the arguments, `run()` the work.

Dataclasses keep heavy imports inside `run`, so that `--help` answers at once. Bad input
(`InputError`, or a disk that is full or not ours to write) ends with exit code 2 and one line;
where `DREAMPOSE_RUN_DIR` names a folder the line is also left there as `error.json`, because DVC
swallows exit codes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from common.errors import EXIT_BAD_INPUT, LESS_MEMORY, InputError, lacks_memory
from common.files import write_json
from common.progress import RUN_DIR

_PR_SET_PDEATHSIG = 1
_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EACCES: "write where you have the right to",
    errno.EPERM: "write where you have the right to",
    errno.EROFS: "write where you have the right to",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOTDIR: "a file is where a folder should be: give another path",
    errno.EEXIST: "a file is where a folder should be: give another path",
    errno.EISDIR: "a folder is where a file should be: give another path",
    errno.ELOOP: "its links lead in a circle: give another path",
}


def printable(text: str) -> str:
    """The text in one line without anything that a terminal or a file could trip over."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main(prog: str, verbs: Mapping[str, type[Any]], argv: list[str] | None = None) -> int:
    """Parse `argv`, run the verb, return the exit code."""
    try:
        command = tyro.extras.subcommand_cli_from_dict(dict(verbs), prog=prog, args=argv)
        command.run()
    except BrokenPipeError:  # who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InputError, OSError) as error:
        return _refused(_refusal(error))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return _refused(InputError(f"out of memory ({_first_line(error)})", LESS_MEMORY))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _refused(refusal: InputError) -> int:
    """Say it, leave it for the bridge, and give the exit code."""
    print(printable(f"error: {refusal}"), file=sys.stderr)
    if run_dir := os.environ.get(RUN_DIR):
        report = {"code": EXIT_BAD_INPUT, "problem": refusal.problem, "remedy": refusal.remedy}
        write_json(Path(run_dir) / "error.json", report)
    return EXIT_BAD_INPUT


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _refusal(error: InputError | OSError) -> InputError:
    """The error as something to tell people; raises it again where it is a fault of ours."""
    if isinstance(error, InputError):
        return error
    if error.errno not in _REMEDIES:
        raise error
    where = f": {error.filename}" if error.filename else ""
    return InputError(f"{error.strerror}{where}", _REMEDIES[error.errno])
