"""How a verb gets its stages done: DVC is asked first, Prefect is started only for work."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from flows import report, server
from tasks import bridge, device, lineage, watchdog
from tasks.bridge import StageRun
from tasks.graph import Address


def bring_up_to_date(addresses: Sequence[Address], flow: str, item: str) -> list[StageRun]:
    """Run the flow of that name on an item, unless all of its stages are up to date."""
    if bridge.stale(addresses):
        begin()
        with report.Board(addresses).shown(), device.attended():
            return getattr(import_module(f"flows.{flow}"), flow)(item)
    runs = [StageRun(address, "unchanged", 0.0) for address in addresses]
    lineage.record(runs)
    return runs


def begin() -> None:
    """Make ready for a flow of this command's own, whose children end with it."""
    watchdog.guard()
    server.for_one_command()
