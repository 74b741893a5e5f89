"""The owner's real case on the `tiny` preset, for tests and `bench/kills.py`: its files, the
command as a process, what works in a workspace, what DVC recorded there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks import graph, workspace

STAGES = {name for name in graph.stages() if not graph.is_beside(name)}
SECRETS = {
    name: f"secret-{name.lower()}-4711"
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY", "GITHUB_TOKEN")
}
PHOTO, CLIP, TRUTH = "Anna's photo.png", "My walk (1).mp4", "truth.mp4"


def python(*arguments: object, cwd: Path = workspace.HOME) -> str:
    """Run a Python program as in an activated environment; returns what it printed."""
    command = [sys.executable, *map(str, arguments)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_files(folder: Path) -> Path:
    """A photo, a clip of another person and the true answer, named as users name files."""
    for name, subject in ((TRUTH, 200_000), (CLIP, 200_001)):
        frames = folder / f"{subject}"
        seed = ("--subject", subject, "--frames", 4)
        out = ("--out-frames", frames, "--out-poses", folder / "poses")
        python("-m", "mannequin", "clip", *out, *seed)
        python("-m", "dreampose_core", "assemble", "--samples", frames, "--out", folder / name)
    shutil.copyfile(folder / "200000/000000.png", folder / PHOTO)
    return folder


def command(files: Path, out: str, *options: str) -> list[str]:
    """The command line that makes `out` of the files."""
    given = ("--truth", files / TRUTH, "--max-frames", "3", "-o", files / out)
    return [*map(str, ("animate", files / PHOTO, files / CLIP, *given)), *options]


def animate(place: Path, files: Path, out: str, *options: str) -> tuple[str, set[str]]:
    """Run the command in a workspace; returns its text and the stages that ran."""
    text = python("-m", "flows", *command(files, out, *options), cwd=place)
    rows = re.findall(r"^([a-z-]+) +[a-z0-9-]+ +(ran|unchanged|restored) +[\d.]+$", text, re.M)
    assert {stage for stage, _ in rows} == STAGES
    return text, {stage for stage, outcome in rows if outcome == "ran"}


def start(place: Path, files: Path, out: str, *options: str) -> subprocess.Popen[bytes]:
    """Begin the command in a workspace, from a shell's environment; its words go to OUT.log."""
    words = [sys.executable, "-m", "flows", *command(files, out, *options)]
    with open(files / f"{out}.log", "wb") as log:
        return subprocess.Popen(words, cwd=place, stdout=log, stderr=log)


def at_work(place: Path) -> dict[int, str]:
    """Process id and command line of every process in a workspace."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(folder / "cwd")).is_relative_to(place):
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                )
    return {pid: line for pid, line in found.items() if line}


def wait_until(condition: Callable[[], Any], seconds: float) -> None:
    """Poll until something is so; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def recorded(place: Path) -> dict[str, Any]:
    """What DVC recorded of every stage's outputs in a workspace, by lock file and stage."""
    return {
        f"{lock.relative_to(place)}:{stage}": entry["outs"]
        for lock in sorted(place.glob("data/items/*/*/dvc.lock"))
        for stage, entry in graph.read_yaml(lock)["stages"].items()
    }
