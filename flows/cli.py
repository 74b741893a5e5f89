"""The `dreampose` command: its verbs, and how it ends."""

from __future__ import annotations

import signal
import sys

from common import program
from dreampose_core.__main__ import Compare, ExportCheckpoint, ImportCheckpoint
from flows.animating import Animate
from flows.benchmarking import Benchmark
from flows.browsing import Lineage, List, Reproduce, Show, Status
from flows.gathering import Gather
from flows.managing import Doctor, Gc, Init, Remove, Use
from flows.posing import Poses
from flows.reporting import Report
from flows.sweeping import Sweep
from flows.training import TrainBase
from flows.unattended import Deploy, Reprocess, Serve, Work
from tasks.bridge import StageError

VERBS = {
    "animate": Animate,
    "sweep": Sweep,
    "reprocess": Reprocess,
    "serve": Serve,
    "deploy": Deploy,
    "work": Work,
    "poses": Poses,
    "dataset": Gather,
    "train-base": TrainBase,
    "evaluate": Compare,
    "benchmark": Benchmark,
    "list": List,
    "show": Show,
    "status": Status,
    "report": Report,
    "lineage": Lineage,
    "reproduce": Reproduce,
    "rm": Remove,
    "gc": Gc,
    "use": Use,
    "init": Init,
    "import": ImportCheckpoint,
    "export": ExportCheckpoint,
    "doctor": Doctor,
}


def main() -> int:
    """The entry point. Being told to end is an interrupt: running stages are ended first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return program.main("dreampose", VERBS)
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code


if __name__ == "__main__":
    sys.exit(main())
