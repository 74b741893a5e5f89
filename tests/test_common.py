"""The ground: outputs that appear whole or not at all, folder formats, fitting, exit codes."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common import files, frames, images, poses
from common.errors import InputError
from common.files import publish, write_json

ROOT = Path(__file__).parents[1]


def fill(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "one").write_text(text)
    (folder / "two").write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_publish_replaces_files_and_folders(tmp_path):
    for text in ("first", "second"):
        with publish(tmp_path / "folder") as partial:
            fill(partial, text)
        with publish(tmp_path / "file") as partial:
            partial.write_text(text)
    assert contents(tmp_path / "folder") == {"one": "second", "two": "second"}
    assert (tmp_path / "file").read_text() == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_publish_changes_kind(tmp_path):
    target = tmp_path / "x"
    with publish(target) as partial:
        fill(partial, "folder")
    with publish(target) as partial:
        partial.write_text("file")
    assert target.read_text() == "file"
    with publish(target) as partial:
        fill(partial, "folder")
    assert contents(target) == {"one": "folder", "two": "folder"}


def test_publish_replaces_links_not_what_they_point_to(tmp_path):
    (tmp_path / "cache").write_text("old")
    (tmp_path / "link").symlink_to("cache")
    with publish(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "cache").read_text() == "old"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("write", [True, False])
def test_a_failed_run_leaves_what_was_there(tmp_path, write):
    """Also where the caller never made the partial output, so that the last move fails."""
    with publish(tmp_path / "folder") as partial:
        fill(partial, "first")

    def fail() -> None:
        with publish(tmp_path / "folder") as partial:
            if write:
                fill(partial, "second")
                raise RuntimeError

    with pytest.raises((RuntimeError, FileNotFoundError)):
        fail()
    assert contents(tmp_path / "folder") == {"one": "first", "two": "first"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_is_never_missing_while_it_is_replaced(tmp_path, monkeypatch):
    write_json(tmp_path / "catalog", 1)
    seen = []
    move = os.replace

    def watched(source, target):
        seen.append((tmp_path / "catalog").exists())
        move(source, target)
        seen.append((tmp_path / "catalog").exists())

    monkeypatch.setattr(files.os, "replace", watched)
    write_json(tmp_path / "catalog", 2)
    assert seen
    assert all(seen)


KILLED = """
import os, signal, sys
from pathlib import Path
from common.files import publish

move, moves = os.replace, []

def killed(source, target):
    if len(moves) == {moves}:
        os.kill(os.getpid(), signal.SIGKILL)
    moves.append(target)
    move(source, target)

with publish(Path({target!r})) as partial:
    partial.mkdir()
    (partial / "one").write_text("second")
    if {moves} < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    (partial / "two").write_text("second")
    os.replace = killed
"""


@pytest.mark.parametrize("moves", [-1, 0, 1])
def test_a_kill_leaves_nothing_that_looks_finished(tmp_path, moves):
    """Killed while writing, before the first move, and between the two moves."""
    target = tmp_path / "folder"
    with publish(target) as partial:
        fill(partial, "first")
    code = KILLED.format(moves=moves, target=str(target))
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert not target.exists() if moves == 1 else contents(target)["two"] == "first"

    with pytest.raises(RuntimeError), publish(target):
        raise RuntimeError
    assert contents(target) == {"one": "first", "two": "first"}
    with publish(target) as partial:
        fill(partial, "third")
    assert contents(target) == {"one": "third", "two": "third"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_kept_partial_work_is_there_again(tmp_path):
    def fail() -> None:
        with publish(tmp_path / "x", keep_partial=True) as partial:
            partial.mkdir()
            (partial / "one").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (tmp_path / "x").exists()
    with publish(tmp_path / "x", keep_partial=True) as partial:
        assert contents(partial) == {"one": "half"}
        (partial / "two").write_text("half")
    assert contents(tmp_path / "x") == {"one": "half", "two": "half"}


def test_folder_hash_sees_names_and_contents(tmp_path):
    hashes = set()
    for name, text in (("a", "1"), ("a", "2"), ("b", "2")):
        with publish(tmp_path / "x") as partial:
            partial.mkdir()
            (partial / name).write_text(text)
        hashes.add(files.folder_hash(tmp_path / "x"))
    assert len(hashes) == 3


def clip(count: int = 3, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def test_frames_round_trip(tmp_path):
    info = frames.FramesInfo("30000/1001", timestamps=[0, 0.1, 0.3], rotation=90, audio=True)
    written = frames.write_frames(tmp_path / "f", clip(), info)
    assert written == replace(info, size=(6, 8), count=3)
    assert frames.read_info(tmp_path / "f") == written
    assert written.rate == Fraction(30000, 1001)
    assert np.array_equal(frames.read_frames(tmp_path / "f"), clip())


def test_unusable_frames_are_refused(tmp_path):
    with pytest.raises(InputError, match="no frame"):
        frames.write_frames(tmp_path / "none", [], frames.FramesInfo("1"))
    with pytest.raises(InputError, match="frame 1 is 8×5"):
        frames.write_frames(tmp_path / "two", [clip()[0], clip()[0, 1:]], frames.FramesInfo("1"))
    with pytest.raises(InputError, match="not a frames folder"):
        frames.read_info(tmp_path)
    frames.write_frames(tmp_path / "f", clip(), frames.FramesInfo("1"))
    (tmp_path / "f" / "000001.png").unlink()
    with pytest.raises(InputError, match=r"000001\.png"):
        frames.frame_paths(tmp_path / "f")
    (tmp_path / "f" / "000000.png").write_bytes(b"")
    with pytest.raises(InputError, match="cannot read"):
        images.read_png(tmp_path / "f" / "000000.png")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"fps": "1"}', '{"size": 3}', '{"size": [1, 2], "x": 1}']
)
def test_damaged_info_is_refused(tmp_path, text):
    for module in (frames, poses):
        (tmp_path / module.INFO).write_text(text)
        with pytest.raises(InputError):
            module.read_info(tmp_path)


def iuv_clip() -> np.ndarray:
    iuv = np.zeros((2, 10, 8, 3), np.uint8)
    iuv[0, 2:9, 1:4] = 24, 100, 200
    return iuv


def test_poses_round_trip(tmp_path):
    info = poses.PosesInfo("mannequin", "exact", "abc", "12", crop=(0, 0, 8, 10))
    written = poses.write_poses(tmp_path / "p", iuv_clip(), info)
    assert [pose.box for pose in written.frames] == [(1.0, 2.0, 4.0, 9.0), None]
    assert poses.read_info(tmp_path / "p") == written
    assert np.array_equal(poses.read_poses(tmp_path / "p"), iuv_clip())
    assert images.read_png(poses.pose_paths(tmp_path / "p")[0])[4, 2].tolist() == [200, 100, 24]


def test_unusable_poses_are_refused(tmp_path):
    with pytest.raises(InputError):
        poses.write_poses(tmp_path / "p", [], poses.PosesInfo("mannequin", "exact"))
    images.write_png(tmp_path / "photo.png", clip()[0])
    with pytest.raises(InputError, match="not an IUV image"):
        poses.read_iuv(tmp_path / "photo.png")
    poses.require_chart("mannequin", "mannequin", "x")
    with pytest.raises(InputError, match="mannequin"):
        poses.require_chart("densepose", "mannequin", "x")


def test_colours_of_parts_differ():
    parts = np.zeros((1, poses.PARTS + 1, 3), np.uint8)
    parts[0, :, 0] = np.arange(poses.PARTS + 1)
    colours = poses.colour(parts)[0]
    assert colours[0].tolist() == [0, 0, 0]
    assert len(np.unique(colours, axis=0)) == poses.PARTS + 1


sides = st.integers(2, 60)


@st.composite
def fits(draw) -> images.Fit:
    height, width = draw(sides), draw(sides)
    x0, y0 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return images.Fit((height, width), (draw(sides), draw(sides)), (x0, y0, x1, y1))


@given(fits(), st.booleans())
def test_fitting_has_the_sizes_it_says(fit, labels):
    picture = np.full((*fit.source, 3), 77, np.uint8)
    fitted = fit.apply(picture, labels=labels)
    assert fitted.shape == (*fit.size, 3)
    x0, y0, x1, y1 = fit.inner
    assert 0 <= x0 < x1 <= fit.size[1]
    assert 0 <= y0 < y1 <= fit.size[0]
    assert min(x1 - x0 - fit.size[1], y1 - y0 - fit.size[0]) <= 0
    assert (fitted[y0:y1, x0:x1] == 77).all()
    if labels:
        assert fitted.sum() == 77 * 3 * (y1 - y0) * (x1 - x0)
    else:
        assert (fitted == 77).all()
    back = fit.undo(fitted)
    assert back.shape == (fit.crop[3] - fit.crop[1], fit.crop[2] - fit.crop[0], 3)
    assert (back == 77).all()


@given(arrays(np.uint8, (12, 9, 3)), st.integers(0, 7), st.booleans())
def test_padding_alone_is_undone_exactly(picture, more, tall):
    fit = images.Fit.whole((12, 9), (12 + more, 9) if tall else (12, 9 + more))
    assert np.array_equal(fit.undo(fit.apply(picture)), picture)


@given(st.integers(2, 5), arrays(np.uint8, (8, 6, 3)))
def test_enlarging_is_undone(factor, picture):
    fit = images.Fit.whole((8, 6), (8 * factor, 6 * factor))
    assert np.array_equal(fit.undo(fit.apply(picture, labels=True)), picture)


def test_alpha_on_white():
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    assert images.on_white(rgba).tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_sheet_pads_white():
    sheet = images.sheet([[np.zeros((2, 3, 3), np.uint8)] * 2, [np.zeros((1, 1, 3), np.uint8)]], 1)
    assert sheet.shape == (5, 7, 3)
    assert sheet[3, 0].tolist() == [0, 0, 0]
    assert sheet[4, 4].tolist() == [255, 255, 255]


PROGRAM = """
import sys
from dataclasses import dataclass
from common.errors import InputError
from common.program import main

@dataclass(frozen=True)
class Work:
    how: str

    def run(self):
        if self.how == "bad":
            raise InputError("it is bad", "be good")
        if self.how.isdigit():
            raise OSError(int(self.how), "no such luck", "/some/where")
        if self.how == "bug":
            raise ValueError("a bug")

@dataclass(frozen=True)
class Rest:
    def run(self): pass

sys.exit(main("prog", {"work": Work, "rest": Rest}))
"""


def program(how: str, run_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"DREAMPOSE_RUN_DIR": str(run_dir)} if run_dir else {})}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "work", "--how", how],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_bad_input_ends_with_exit_code_2_and_one_line(tmp_path):
    run = program("bad", tmp_path)
    assert (run.returncode, run.stderr) == (2, "error: it is bad — be good\n")
    assert json.loads((tmp_path / "error.json").read_text()) == {
        "code": 2, "problem": "it is bad", "remedy": "be good",
    }  # fmt: skip
    run = program(str(errno.ENOSPC))
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "no such luck: /some/where — make room" in run.stderr


def test_success_is_0_and_a_bug_shows_itself():
    assert program("well").returncode == 0
    for how in ("bug", str(errno.EIO)):
        run = program(how)
        assert run.returncode == 1
        assert "Traceback" in run.stderr


def test_progress_lines_for_parents(tmp_path):
    code = "from common.progress import track\nfor _ in track(range(3), 'count'): pass"
    environment = {**os.environ, "DREAMPOSE_RUN_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert run.stderr.startswith("count: 3 in ")
    last = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[-1])
    assert (last["label"], last["done"], last["total"]) == ("count", 3, 3)
