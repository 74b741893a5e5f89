"""Progress with an estimate: a bar on a terminal, plain lines elsewhere, JSON lines for parents.

Where `DREAMPOSE_RUN_DIR` names a folder (the bridge sets it), every report is also a line of
`progress.jsonl` there: {"label", "done", "total", "seconds", "note"}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
RUN_DIR = "DREAMPOSE_RUN_DIR"
_TERMINAL_SECONDS, _PLAIN_SECONDS = 0.2, 15.0


class Progress:
    """Counts `total` steps of something called `label`; use as a context manager."""

    def __init__(self, label: str, total: int, *, start: int = 0):
        self.label, self.total, self.done, self.note = label, total, start, ""
        self._first, self._begin = start, time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._last = 0.0 if self._terminal else self._begin
        run_dir = os.environ.get(RUN_DIR)
        self._lines = open(Path(run_dir) / "progress.jsonl", "a") if run_dir else None  # noqa: SIM115
        self._last_line = 0.0

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more steps; `note` (a loss, say) is shown behind the estimate."""
        self.done, self.note = self.done + count, note
        now = time.monotonic()
        if self._lines and (now - self._last_line > 0.5 or self.done >= self.total):
            self._last_line = now
            line = {
                "label": self.label,
                "done": self.done,
                "total": self.total,
                "first": self._first,
                "seconds": round(now - self._begin, 2),
                "note": note,
            }
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
        wait = _TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS
        if now - self._last > wait:
            self._last = now
            self._show(now)

    def _show(self, now: float) -> None:
        elapsed = now - self._begin
        rate = (self.done - self._first) / elapsed if elapsed else 0.0
        left = (self.total - self.done) / rate if rate else float("inf")
        estimate = f"{left:.0f} s left" if left < 120 else f"{left / 60:.0f} min left"
        text = f"{self.label} {self.done}/{self.total}, {estimate} {self.note}".rstrip()
        if self._terminal:
            filled = int(24 * self.done / max(1, self.total))
            text = f"\r\x1b[K{'█' * filled}{'░' * (24 - filled)} {text}"
        print(text, end="" if self._terminal else "\n", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._terminal and self._last:
            print("\r\x1b[K", end="", file=sys.stderr)
        if kind is None:
            seconds = time.monotonic() - self._begin
            print(f"{self.label}: {self.done} in {seconds:.1f} s", file=sys.stderr, flush=True)
        if self._lines:
            self._lines.close()


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while showing progress."""
    total = len(items) if total is None else total  # type: ignore[arg-type]
    with Progress(label, total) as progress:
        for item in items:
            yield item
            progress.advance()
