"""The inbox at work: `python bench/inbox.py [PRESET] [SUBJECTS]` (tiny and 20 by default).

Photos of so many subjects and two clips are put into the inbox of a fresh workspace; then one run
over all, one over the unchanged inbox, and one more with one more subject. What the last takes
beyond that subject's own stages is what the others cost.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tasks import graph, workspace

_FRAMES = 8


def python(*arguments: object, cwd: Path = workspace.HOME) -> float:
    """Wall time of a Python program that has to succeed."""
    begin = time.monotonic()
    command = [sys.executable, *map(str, arguments)]
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def photo(out: Path, subject: int) -> None:
    """A photo of a synthetic person."""
    frames = out.with_suffix("")
    made = ("--out-frames", frames, "--out-poses", out.with_suffix(".poses"))
    python("-m", "mannequin", "clip", *made, "--subject", subject, "--frames", 2)
    shutil.copyfile(frames / "000000.png", out)


def clip(out: Path, subject: int, motion: int) -> None:
    """A clip of another one."""
    frames = out.with_suffix("")
    made = ("--out-frames", frames, "--out-poses", out.with_suffix(".poses"))
    given = ("--subject", subject, "--motion", motion, "--frames", _FRAMES)
    python("-m", "mannequin", "clip", *made, *given)
    python("-m", "dreampose_core", "assemble", "--samples", frames, "--out", out)


def reprocess(place: Path) -> tuple[float, dict[str, Any]]:
    """Wall time of a run over the inbox, and what it wrote about itself."""
    taken = python("-m", "flows", "reprocess", cwd=place)
    newest = max((place / "data/inbox/runs").iterdir())
    return taken, json.loads(newest.read_text())


def main() -> None:
    preset = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as name:
        files, place = Path(name), Path(name) / "workspace"
        workspace.create(place, preset)
        parameters = place / "params.yaml"
        parameters.write_text(parameters.read_text().replace("settle: 10", "settle: 0"))
        assert graph.read_yaml(parameters)["inbox"]["settle"] == 0
        subjects, clips = place / "inbox/subjects", place / "inbox/clips"
        subjects.mkdir(parents=True)
        clips.mkdir()
        for index in range(count + 1):
            photo(files / f"s{index:02}.png", 200_000 + index)
        for index in range(2):
            clip(files / f"c{index}.mp4", 200_040 + index, 300_000 + index)
            shutil.copyfile(files / f"c{index}.mp4", clips / f"c{index}.mp4")
        for index in range(count):
            shutil.copyfile(files / f"s{index:02}.png", subjects / f"s{index:02}.png")
        everything, first = reprocess(place)
        unchanged, again = reprocess(place)
        shutil.copyfile(files / f"s{count:02}.png", subjects / f"s{count:02}.png")
        more, last = reprocess(place)
        own = sum(item["seconds"] for item in last["items"])
    print(
        f"{preset}, {count} subjects × 2 clips of {_FRAMES} frames: {first['totals']} in "
        f"{everything:.0f} s; unchanged {again['totals']} in {unchanged:.1f} s; one more subject "
        f"{last['totals']} in {more:.1f} s, its own stages {own:.1f} s: {more - own:+.1f} s"
    )


if __name__ == "__main__":
    main()
