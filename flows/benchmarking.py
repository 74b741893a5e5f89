"""The verb `benchmark`: how good is the model on people and motions it has never seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from common.errors import InputError
from flows.place import InWorkspace
from flows.report import console
from tasks import bridge, watchdog

PIPELINE = Path("pipelines/benchmark/dvc.yaml")
_PLAIN_SECONDS = 30.0


@dataclass(frozen=True)
class Benchmark(InWorkspace):
    """Measure the preset mini on people and motions it has never seen: tables, curves, sheets."""

    quick: bool = False
    """two subjects, one motion, eight frames, fewer methods: a look, no verdict"""

    def run(self) -> None:
        self.enter()
        if not PIPELINE.exists():
            raise InputError(f"{PIPELINE} is not here", "work in a newer workspace: dreampose init")
        size = "quick" if self.quick else "full"
        watchdog.guard()
        with _saying() as listener:
            bridge.run_pipeline(f"{PIPELINE}:table@{size}", listener)
        folder = Path(f"data/benchmark/{size}/table")
        console.print(_table(json.loads((folder / "figures.json").read_text(encoding="utf-8"))))
        console.print(f"[bold]{folder}[/]: table.md, figures.json, curves.png, sheets/")


@contextmanager
def _saying() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A listener to the programs' progress: a status on a terminal, some lines elsewhere."""
    last = {"label": "", "time": 0.0}
    with console.status("starting") as status:

        def listen(progress: dict[str, Any]) -> None:
            said = f"{progress['label']} {progress['done']}/{progress['total']}"
            status.update(said)
            new = progress["label"] != last["label"]
            if not console.is_terminal and (
                new or time.monotonic() - last["time"] > _PLAIN_SECONDS
            ):
                last.update(label=progress["label"], time=time.monotonic())
                console.print(said, markup=False)

        yield listen


def _table(figures: dict[str, Any]) -> Table:
    table = Table("level", "", "full frame", "person", "brightness change", box=None)
    for row in figures["rows"]:
        all_views = row["views"].get("all")
        near = (
            [
                f"{all_views['psnr']:.2f} dB / {all_views['ssim']:.3f}",
                f"{all_views['person_psnr']:.2f} dB / {all_views['person_ssim']:.3f}",
            ]
            if all_views
            else ["", ""]
        )
        table.add_row(row["level"], row["name"], *near, f"{255 * row['flicker']:.2f} grey levels")
    return table
