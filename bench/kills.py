"""Kills at random moments through whole runs of the `tiny` preset: `python bench/kills.py`.

The flow, dvc or the stage's program gets SIGKILL at a random moment of one of the next stages to
run; the same command is given again, and so on until it comes to its end. Its video and everything
that DVC recorded have to equal an undisturbed run's. Then a fresh workspace is taken, until so many
kills have been survived.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tyro

from tasks import workspace

sys.path.insert(0, str(workspace.HOME / "tests"))
from chain import animate, at_work, make_files, recorded, start, wait_until

VICTIMS = {"flow": " -m flows ", "dvc": "from dvc.cli", "stage": "python -m d"}
"""What is killed, and what its command line holds."""
_BEGUN = "data/runs/*/log.txt"
_STAGES_AHEAD = 4
_CHILDREN_SECONDS, _END_SECONDS = 5, 120


@dataclass
class Trials:
    """Kills in one workspace after another, and what became of them."""

    files: Path
    undisturbed: Path
    span: float
    chance: random.Random

    def run(self, kills: int) -> Counter[str]:
        """Kill so many times; counts the recoveries, and everything that went wrong."""
        seen: Counter[str] = Counter()
        while seen["kills"] < kills:
            with tempfile.TemporaryDirectory() as name:
                place = Path(name) / "workspace"
                workspace.create(place, "tiny")
                seen += self._to_its_end(place, kills - seen["kills"])
        return seen

    def _to_its_end(self, place: Path, kills: int) -> Counter[str]:
        """Kill the run again and again until it ends by itself, or all kills are used up."""
        seen: Counter[str] = Counter()
        while True:
            process = start(place, self.files, "killed.mp4")
            victim = self._kill(place, process) if seen["kills"] < kills else None
            code = process.wait()
            if victim is None:
                break
            seen += Counter(["kills", victim])
            print(victim, end=" ", flush=True)
            try:
                wait_until(lambda: not at_work(place), _CHILDREN_SECONDS)
            except AssertionError:
                seen["children left"] += 1
            seen["finished in spite of it"] += code == 0
        right = code == 0 and self._same(place)
        seen["recoveries" if right else "wrong or lost"] += seen["kills"]
        words = "" if right else (self.files / "killed.mp4.log").read_text()
        print(f"{dict(seen)} {words}", flush=True)
        return seen

    def _kill(self, place: Path, process: subprocess.Popen[bytes]) -> str | None:
        """Kill one of the run's processes at a random moment; None where it ended before.

        The moment is up to twice a stage's time after one of the next stages has begun.
        """
        victim = self.chance.choice(list(VICTIMS))
        ahead = self.chance.randrange(_STAGES_AHEAD)
        delay = self.chance.uniform(0, 2 * self.span / len(recorded(self.undisturbed)))
        before = set(place.glob(_BEGUN))
        begun, moment = set(before), float("inf")
        while process.poll() is None:
            begun |= set(place.glob(_BEGUN))
            if moment == float("inf") and len(begun - before) > ahead:
                moment = time.monotonic() + delay
            if time.monotonic() >= moment and self._hit(place, victim):
                process.wait(_END_SECONDS)
                return victim
            time.sleep(0.05)
        return None

    def _hit(self, place: Path, victim: str) -> bool:
        for pid, line in at_work(place).items():
            if VICTIMS[victim] in line:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    def _same(self, place: Path) -> bool:
        videos = [(self.files / name).read_bytes() for name in ("first.mp4", "killed.mp4")]
        (self.files / "killed.mp4").unlink()
        return videos[0] == videos[1] and recorded(place) == recorded(self.undisturbed)


def main(kills: int = 50, seed: int = 0) -> None:
    with tempfile.TemporaryDirectory() as name:
        files, undisturbed = Path(name) / "files", Path(name) / "undisturbed"
        files.mkdir()
        make_files(files)
        workspace.create(undisturbed, "tiny")
        begin = time.monotonic()
        animate(undisturbed, files, "first.mp4")
        span = time.monotonic() - begin
        print(f"an undisturbed run: {span:.1f} s", flush=True)
        seen = Trials(files, undisturbed, span, random.Random(seed)).run(kills)
        took = time.monotonic() - begin
    figures = ", ".join(f"{count} {what}" for what, count in seen.items() if count)
    print(f"seed {seed}, {took:.0f} s: {figures}")


if __name__ == "__main__":
    tyro.cli(main)
