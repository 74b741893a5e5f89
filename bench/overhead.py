"""What Prefect and DVC cost: the demo through `dreampose animate` against its programs by hand.

Both run in one go in a fresh workspace, the commands of the second being those that DVC recorded
for the first: `python bench/overhead.py`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flows import order
from tasks import catalog, graph, workspace

EXAMPLES = workspace.HOME / "examples"


def seconds(command: list[str], folder: Path) -> float:
    """Wall time of a command that has to succeed."""
    begin = time.monotonic()
    subprocess.run(command, cwd=folder, check=True)
    return time.monotonic() - begin


def _recorded(folder: Path) -> list[dict[str, Any]]:
    """What DVC recorded of every stage in a workspace, in running order."""
    os.chdir(folder)
    items = catalog.load()
    (render,) = items.renders
    return list(graph.locked(order.animate(items, render)).values())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "workspace"
        workspace.create(folder, "mini")
        animate = [
            *(sys.executable, "-m", "flows", "animate"),
            *(EXAMPLES / "subject.png", EXAMPLES / "driving.mp4", "-o", folder / "out.mp4"),
        ]
        first = seconds(list(map(str, animate)), folder)
        again = seconds(list(map(str, animate)), folder)
        words = [shlex.split(entry["cmd"]) for entry in _recorded(folder)]
        commands = [[sys.executable, *command[1:]] for command in words]
        by_hand = sum(seconds(command, folder) for command in commands)
    print(
        f"animate {first:.1f} s, its {len(commands)} programs by hand {by_hand:.1f} s: "
        f"{first / by_hand:.2f}x, {(first - by_hand) / len(commands):.1f} s a stage; "
        f"unchanged {again:.1f} s"
    )


if __name__ == "__main__":
    main()
