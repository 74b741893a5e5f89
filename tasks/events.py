"""What a step says while it runs, to whoever listens in the same process.

Without a listener (a Prefect worker, say) nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.bridge import StageRun
from tasks.graph import Address


@dataclass(frozen=True)
class Started:
    address: Address


@dataclass(frozen=True)
class Advanced:
    """`progress` is the program's own line: label, done, total, first, seconds, note."""

    address: Address
    progress: dict[str, Any]


@dataclass(frozen=True)
class Waiting:
    """Another process holds the stage; it is tried again."""

    address: Address
    reason: str


@dataclass(frozen=True)
class Finished:
    run: StageRun


Event = Started | Advanced | Waiting | Finished
listeners: list[Callable[[Event], None]] = []


def tell(event: Event) -> None:
    """Hand an event to all listeners."""
    for listener in listeners:
        listener(event)
