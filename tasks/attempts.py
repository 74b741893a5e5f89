"""What earlier runs over the inbox know of its items: taken in as what, and failed how often.

Kept in `data/inbox/state.json`, written whole after every change. A failure waits longer each time
before it is tried again; it counts only for the item as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import InputError
from common.files import write_json
from tasks.inbox import Entry

FOLDER = Path("data/inbox")
_STATE = FOLDER / "state.json"


class BusyError(InputError):
    """Another run is at work on the inbox."""

    def __init__(self) -> None:
        super().__init__("another run works on this inbox", "wait until it has ended")


@contextmanager
def alone() -> Iterator[None]:
    """Keep every other run out, in all processes. Raises BusyError where one is at work."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(FOLDER / ".lock", timeout=0):
            yield
    except Timeout:
        raise BusyError from None


@dataclass(frozen=True)
class Failure:
    """`count` failures of what had this `stamp`, `own` of them its own and not the machine's.

    The last one was at `when`, seconds of Unix.
    """

    stamp: str
    count: int
    own: int
    when: float
    reason: str


@dataclass(frozen=True)
class Known:
    """The raw input (its key, the path of its bytes) that was made of an item with this stamp."""

    stamp: str
    raw: str
    path: str


@dataclass
class Memory:
    """What is known of items, by their names."""

    known: dict[str, Known] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Memory:
        """As the last run left it. What cannot be read is forgotten: it is only a memory."""
        try:
            state = json.loads(_STATE.read_text(encoding="utf-8"))
            known = {name: Known(**value) for name, value in state["known"].items()}
            failures = {name: Failure(**value) for name, value in state["failures"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()
        return cls(known, failures)

    def save(self) -> None:
        """Write it whole."""
        write_json(_STATE, asdict(self))

    def keep(self, names: set[str]) -> None:
        """Forget everything but these."""
        self.known = {name: value for name, value in self.known.items() if name in names}
        self.failures = {name: value for name, value in self.failures.items() if name in names}

    def raw_of(self, entry: Entry) -> tuple[str, str] | None:
        """Raw key and path of an unchanged item that is still there."""
        known = self.known.get(str(entry))
        if known and known.stamp == entry.stamp and Path(f"{known.path}.dvc").exists():
            return known.raw, known.path
        return None

    def failure(self, name: str, stamp: str) -> Failure | None:
        """The failures of an item as it is now."""
        failure = self.failures.get(name)
        return failure if failure and failure.stamp == stamp else None

    def failed(self, name: str, stamp: str, reason: str, *, own: bool = True) -> Failure:
        """Count one more failure and write it down."""
        before = self.failure(name, stamp) or Failure(stamp, 0, 0, 0.0, "")
        failure = Failure(stamp, before.count + 1, before.own + own, time.time(), reason)
        self.failures[name] = failure
        self.save()
        return failure

    def succeeded(self, name: str) -> None:
        """Forget the failures of an item."""
        if self.failures.pop(name, None):
            self.save()


def wait(failure: Failure, backoff: float) -> float:
    """Seconds until the next attempt: `backoff` after the first failure, doubled up to 10 times.

    A failure that seems to come from the future is an old one: the clock was set back.
    """
    since = time.time() - failure.when
    return max(0.0, backoff * 2 ** min(failure.count - 1, 10) - since) if since >= 0 else 0.0
