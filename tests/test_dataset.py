"""A folder of clips to a dataset to a base that is finetuned to it, by the command.

The `tiny` preset; two of six clips cannot be used, and the command is killed on its way.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from media_samples import encode

from common.datasets import read_dataset, write_dataset
from common.frames import read_info
from tasks import catalog, workspace
from tasks.cache import content_hash

REASONS = {
    "broken.mp4": "is damaged or cut off",
    "nobody.mp4": "no person found in 5 of 5 frames",
    "gone.mp4": "is not in the folder",
    "copy.mp4": "it is the same clip as 91+b (1).mp4",
}


def python(*arguments: object) -> str:
    """Run a program to its end; returns what it printed."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=workspace.HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Clips with lists as UBC Fashion has them."""
    folder = tmp_path_factory.mktemp("clips")
    made = tmp_path_factory.mktemp("made")
    for subject, name in enumerate(("a", "91+b (1)", "held out"), 200_000):
        out = ("--out-frames", made / name, "--out-poses", made / "poses")
        python("-m", "mannequin", "clip", *out, "--subject", subject, "--frames", 4)
        clip = ("--samples", made / name, "--out", folder / f"{name}.mp4")
        python("-m", "dreampose_core", "assemble", *clip)
    shutil.copyfile(folder / "91+b (1).mp4", folder / "copy.mp4")
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:2000])
    encode(folder / "nobody.mp4", np.full((5, 160, 128, 3), 200, np.uint8))
    addresses = ["https://example.org/91%2Bb%20(1).mp4", "a", "copy.mp4", "gone.mp4"]
    names = [*addresses, "broken.mp4", "nobody.mp4"]
    (folder / "fashion_train.txt").write_text("\n".join(names))
    (folder / "fashion_test.txt").write_text("held out.mp4\n")
    return folder


def recorded(place: Path) -> dict[str, float]:
    """The lineage records of a workspace and when each was written."""
    return {path.name: path.stat().st_mtime for path in place.glob("data/lineage/*.json")}


def begin_and_kill(place: Path, *command: object) -> None:
    """Start a program and kill it as soon as a clip's frames are recorded."""
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=workspace.HOME)
    deadline = time.monotonic() + 300
    while not any("-frames@" in name for name in recorded(place)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.long
def test_a_folder_becomes_a_base(folder, tmp_path, monkeypatch):
    place = tmp_path / "workspace"
    workspace.create(place, "tiny")
    gather = ("-m", "flows", "dataset", folder, "--name", "UBC", "--workspace", place)
    begin_and_kill(place, *gather)
    before, file = recorded(place), place / "data/datasets/ubc.json"
    (place / ".dvc/tmp/rwlock").write_text('{"write": {"a')  # as a kill may leave it
    assert not file.exists()

    text = python(*gather)
    assert all(name in text and reason in text for name, reason in REASONS.items())
    after = recorded(place)
    assert all(after[name] == when for name, when in before.items())
    made = read_dataset(file)
    assert [clip.name for clip in made.train] == ["91+b (1).mp4", "a.mp4"]
    assert [clip.name for clip in made.test] == ["held out.mp4"]
    failed = {failure.name: failure.reason for failure in made.failed}
    assert failed.keys() == REASONS.keys()
    assert all(REASONS[name] in reason for name, reason in failed.items())

    monkeypatch.chdir(place)
    assert set(catalog.load().sources) == {clip.source for clip in made.train + made.test}
    for clip in made.train + made.test:
        assert clip.count == read_info(Path(clip.frames)).count == 4
        assert content_hash(Path(clip.frames)) == clip.frames_md5
        assert content_hash(Path(clip.poses)) == clip.poses_md5

    other_bytes = (folder / "a.mp4").read_bytes() + b"\0\0\0\x08free"
    (folder / "nobody.mp4").write_bytes(other_bytes)
    python(*gather)
    new = recorded(place).keys() - after.keys()
    assert {name.split("@")[1].split("-")[0] for name in new} == {"nobody"}
    assert [clip.name for clip in read_dataset(file).train][2:] == ["nobody.mp4"]

    train = ("-m", "flows", "train-base", "ubc", "--workspace", place)
    assert "--base ubc" in python(*train)
    figures = json.loads(Path("data/trained/ubc/training/figures.json").read_text())
    assert (figures["frames"], figures["step"]) == (12, 2)
    assert figures["validation"] > 0
    assert python(*train).count("unchanged") == 4
    status = python("-m", "flows", "status", "--workspace", place)
    assert "All 16 stages are up to date" in status
    origin = python("-m", "flows", "lineage", place / "data/bases/ubc", "--workspace", place)
    assert "data/datasets/ubc.json" in origin

    write_dataset(file, replace(read_dataset(file), test=[replace(made.test[0], frames_md5="x")]))
    done = subprocess.run(
        [sys.executable, *map(str, train)], cwd=workspace.HOME, capture_output=True
    )
    assert done.returncode == 2
    assert b"held out.mp4 is no longer as the dataset lists it" in done.stderr
