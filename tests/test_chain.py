"""The owner's real case, end to end: `animate` on two files through Prefect and DVC.

The `tiny` preset in workspaces of its own. The tests go on from one another, in order.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tasks import graph, workspace
from tasks.catalog import NOTHING

STAGES = {name for name in graph.stages() if not graph.is_beside(name)}


def python(*arguments: object, cwd: Path = workspace.HOME) -> str:
    """Run a Python program as in an activated environment; returns what it printed."""
    command = [sys.executable, *map(str, arguments)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A photo, a clip of another person and the true answer, named as users name files."""
    folder = tmp_path_factory.mktemp("files")
    for name, subject in (("truth", 200_000), ("My walk (1)", 200_001)):
        frames = folder / f"{subject}"
        seed = ("--subject", subject, "--frames", 4)
        out = ("--out-frames", frames, "--out-poses", folder / "poses")
        python("-m", "mannequin", "clip", *out, *seed)
        out = folder / f"{name}.mp4"
        python("-m", "dreampose_core", "assemble", "--samples", frames, "--out", out)
    shutil.copyfile(folder / "200000/000000.png", folder / "Anna's photo.png")
    return folder


def animate(place: Path, files: Path, out: str, *options: str) -> tuple[str, set[str]]:
    """Run the command in a workspace; returns its text and the stages that ran."""
    pair = (files / "Anna's photo.png", files / "My walk (1).mp4")
    given = ("--truth", files / "truth.mp4", "--max-frames", "3", "-o", files / out)
    text = python("-m", "flows", "animate", *pair, *given, *options, cwd=place)
    rows = re.findall(r"^([a-z-]+) +[a-z0-9-]+ +(ran|unchanged|restored) +[\d.]+$", text, re.M)
    assert {stage for stage, _ in rows} == STAGES
    return text, {stage for stage, outcome in rows if outcome == "ran"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The workspace that the first test fills."""
    place = tmp_path_factory.mktemp("undisturbed") / "workspace"
    workspace.create(place, "tiny")
    return place


@pytest.mark.slow
def test_a_photo_and_a_clip_become_a_video(files, undisturbed, tmp_path):
    place = undisturbed
    text, ran = animate(place, files, "first.mp4", "--sheet", str(files / "sheet.png"))
    (video,) = (place / "data/videos").iterdir()
    assert ran == STAGES
    assert (files / "first.mp4").read_bytes() == video.read_bytes()
    assert (files / "sheet.png").stat().st_size
    assert "Anna's photo.png" in text
    assert "My walk (1).mp4" in text

    text, ran = animate(place, files, "second.mp4")
    assert not ran
    assert "Nothing had to be done" in text
    assert (files / "second.mp4").read_bytes() == video.read_bytes()

    text, ran = animate(place, files, "third.mp4", "--s1", "5")
    assert ran == {"sample", "assemble", "evaluate"}
    assert (files / "third.mp4").read_bytes() != video.read_bytes()

    text = python("-m", "flows", "status", cwd=place)
    assert re.search(r"All \d+ stages are up to date", text)
    text = python("-m", "flows", "show", f"render/{video.stem}", cwd=place)
    assert "fresh: data/samples/" in text

    text = python("-m", "flows", "lineage", files / "first.mp4", cwd=place)
    assert "--s1 2.0" in text
    text = python("-m", "flows", "lineage", files / "third.mp4", cwd=place)
    assert "--s1 2.0" in text
    assert "--s1 5.0" in text
    tree = json.loads(python("-m", "flows", "lineage", files / "first.mp4", "--json", cwd=place))
    assert tree["made_by"]["stage"] == f"assemble@{video.stem}"
    assert tree["made_by"]["environment"]["torch"]
    chart = python("-m", "flows", "lineage", files / "first.mp4", "--mermaid", cwd=place)
    assert chart.count("-->|sample|") == 6
    assert NOTHING not in chart

    text = python("-m", "flows", "reproduce", files / "first.mp4", cwd=place)
    assert "bit for bit" in text
    (again,) = (place / "data/reproduced").glob("*/data/videos/*.mp4")
    assert again.read_bytes() == video.read_bytes()

    elsewhere = tmp_path / "elsewhere"
    workspace.create(elsewhere, "tiny")
    without_locks = shutil.ignore_patterns("dvc.lock")
    shutil.copytree(place / "data/items", elsewhere / "data/items", ignore=without_locks)
    shutil.copytree(place / "data/raw", elsewhere / "data/raw")
    render = f"data/items/renders/{video.stem}"
    python("-m", "dvc", "repro", "--quiet", f"{render}/dvc.yaml", cwd=elsewhere)
    assert (elsewhere / f"data/videos/{video.name}").read_bytes() == video.read_bytes()
    locks = sorted((elsewhere / "data/items").glob("*/*/dvc.lock"))
    assert len(locks) == 7
    for lock in locks:
        recorded = graph.read_yaml(place / lock.relative_to(elsewhere))["stages"]
        for stage, entry in graph.read_yaml(lock)["stages"].items():
            assert recorded[stage]["outs"] == entry["outs"], stage


def start(place: Path, files: Path, out: str, *options: str) -> subprocess.Popen:
    """Begin the command in a workspace, from a shell's environment."""
    pair = (files / "Anna's photo.png", files / "My walk (1).mp4")
    given = ("--truth", files / "truth.mp4", "--max-frames", "3", "-o", files / out)
    command = [sys.executable, "-m", "flows", "animate", *pair, *given, *options]
    log = open(files / f"{out}.log", "wb")  # noqa: SIM115
    return subprocess.Popen(list(map(str, command)), cwd=place, stdout=log, stderr=log)


def at_work(place: Path) -> list[str]:
    """Command lines of the processes in a workspace."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(folder / "cwd")).is_relative_to(place):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in found if line]


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_at_any_stage_the_same_command_finishes_with_the_same_bytes(
    files, undisturbed, tmp_path
):
    place = tmp_path / "workspace"
    workspace.create(place, "tiny")
    kinds = (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
    for kind, stage in zip(kinds, ("frames", "base", "finetune-unet", "sample"), strict=True):
        process = start(place, files, "killed.mp4")
        wait_until(lambda stage=stage: any(place.glob(f"data/runs/{stage}-*/log.txt")), 300)
        time.sleep(1)
        process.send_signal(kind)
        assert process.wait() != 0
        wait_until(lambda: not at_work(place), 5)
        assert not (files / "killed.mp4").exists()
        for left in place.glob("data/runs/*"):
            shutil.rmtree(left)
    assert start(place, files, "killed.mp4").wait() == 0
    assert (files / "killed.mp4").read_bytes() == (files / "first.mp4").read_bytes()
    for lock in place.glob("data/items/*/*/dvc.lock"):
        ours = graph.read_yaml(undisturbed / lock.relative_to(place))["stages"]
        for name, entry in graph.read_yaml(lock)["stages"].items():
            assert ours[name]["outs"] == entry["outs"], name


@pytest.mark.slow
def test_two_at_once_end_right(files, undisturbed):
    """The same item twice and another one, in one workspace at the same time."""
    calls = [("four.mp4", "4"), ("four again.mp4", "4"), ("six.mp4", "6")]
    running = [start(undisturbed, files, out, "--s1", s1) for out, s1 in calls]
    assert [process.wait() for process in running] == [0, 0, 0]
    four, again, six = ((files / out).read_bytes() for out, _ in calls)
    assert four == again != six
    _, ran = animate(undisturbed, files, "six again.mp4", "--s1", "6")
    assert not ran
    assert (files / "six again.mp4").read_bytes() == six
