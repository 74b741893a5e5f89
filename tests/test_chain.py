"""The owner's real case, end to end: `animate` on two files through Prefect and DVC.

The `tiny` preset in workspaces of its own. The tests go on from one another, in order.
"""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from chain import CLIP, PHOTO, animate, at_work, python, recorded, start, wait_until

from tasks import device, workspace
from tasks.catalog import NOTHING
from tasks.graph import Address


@pytest.mark.slow
def test_a_photo_and_a_clip_become_a_video(files, undisturbed, tmp_path):
    place = undisturbed
    text = (files / "first.txt").read_text()
    (video,) = (place / "data/videos").iterdir()
    assert (files / "first.mp4").read_bytes() == video.read_bytes()
    assert (files / "sheet.png").stat().st_size
    page = place / f"data/pages/{video.stem}.html"
    assert (files / "report.html").read_bytes() == page.read_bytes()
    with closing(sqlite3.connect(place / "data/prefect/prefect.db")) as records:
        rows = records.execute("SELECT key, data FROM artifact WHERE key IS NOT NULL").fetchall()
    kept = {key.removesuffix(f"-{video.stem}"): data for key, data in rows}
    assert kept.keys() == {"figures", "sheet", "report"}
    assert "data:image/jpeg" in kept["sheet"]
    assert page.as_uri() in kept["report"]
    assert "PSNR" in kept["figures"]
    assert "Overlap of body parts" in kept["figures"]
    assert "Overlap of body parts" in page.read_text()
    figures = json.loads((place / f"data/reports/{video.stem}/metrics.json").read_text())
    assert 0 <= figures["pose"]["part_iou"] <= 1
    assert PHOTO in text
    assert CLIP in text

    text, ran = animate(place, files, "second.mp4")
    assert not ran
    assert "Nothing had to be done" in text
    assert (files / "second.mp4").read_bytes() == video.read_bytes()

    text, ran = animate(place, files, "third.mp4", "--s1", "5")
    assert ran == {"sample", "assemble", "repose", "evaluate"}
    assert (files / "third.mp4").read_bytes() != video.read_bytes()

    grid = files / "grid.png"
    words = [str(w) for w in ("sweep", video.stem, "-o", grid, "--s1", 1, 4, "--s2", 1)]
    with device.turn(Address("sample", "another"), print):
        command = [sys.executable, "-m", "flows", *words]
        sweeping = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
        assert "waiting" in sweeping.stdout.readline()
        assert not grid.exists()
    assert sweeping.wait() == 0
    assert grid.stat().st_size

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
    assert recorded(elsewhere).items() <= recorded(place).items()


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
    assert recorded(place).items() <= recorded(undisturbed).items()


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
