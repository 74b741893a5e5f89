"""A room's command line: one dataclass a verb, its fields the arguments, `run()` the work.

Dataclasses keep heavy imports inside `run`, so that `--help` answers at once. Bad input
(`InputError`) ends with exit code 2 and one line; where `DREAMPOSE_RUN_DIR` names a folder the
line is also left there as `error.json`, because DVC swallows exit codes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from common.errors import EXIT_BAD_INPUT, InputError
from common.files import write_json
from common.progress import RUN_DIR

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main(prog: str, verbs: Mapping[str, type[Any]], argv: list[str] | None = None) -> int:
    """Parse `argv`, run the verb, return the exit code."""
    run_dir = os.environ.get(RUN_DIR)
    if run_dir:
        die_with_parent()
    command = tyro.extras.subcommand_cli_from_dict(dict(verbs), prog=prog, args=argv)
    try:
        command.run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        if run_dir:
            report = {"code": EXIT_BAD_INPUT, "problem": error.problem, "remedy": error.remedy}
            write_json(Path(run_dir) / "error.json", report)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
