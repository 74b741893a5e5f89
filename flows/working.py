"""How a verb gets its stages done: DVC is asked first, Prefect is started only for work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from flows import report
from tasks import bridge, lineage, watchdog
from tasks.bridge import StageRun
from tasks.graph import Address


def bring_up_to_date(addresses: Sequence[Address], flow: str, item: str) -> list[StageRun]:
    """Run the flow of that name on an item, unless all of its stages are up to date."""
    if bridge.stale(addresses):
        begin()
        with report.Board(addresses).shown():
            return getattr(import_module(f"flows.{flow}"), flow)(item)
    runs = [StageRun(address, "unchanged", 0.0) for address in addresses]
    lineage.record(runs)
    return runs


def begin() -> None:
    """Prefect's settings for one command of its own, whose children end with it.

    What the user has set stays.
    """
    watchdog.guard()
    for name, value in {
        "PREFECT_HOME": str(Path("data/prefect").absolute()),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }.items():
        os.environ.setdefault(name, value)
