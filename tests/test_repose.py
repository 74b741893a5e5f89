"""Poses found in a render: near to those asked for where it shows them, far where it does not."""

import numpy as np
import pytest
import torch

from common.frames import FramesInfo, write_frames
from common.poses import PosesInfo, read_info, read_poses, write_poses
from common.program import main
from densepose_prep.__main__ import VERBS
from densepose_prep.dump import Detections
from densepose_prep.repose import person_at
from dreampose_core.evaluate import evaluate
from mannequin.__main__ import VERBS as MANNEQUIN
from tasks.workspace import HOME

WEIGHTS = HOME / "weights/mini/iuv"


def run(*arguments: object) -> int:
    return main("densepose_prep", VERBS, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Frames of the mannequin, its true poses, and the poses found in the frames."""
    place = tmp_path_factory.mktemp("clip")
    outs = ("--out-frames", place / "frames", "--out-poses", place / "poses")
    words = ("clip", "--subject", 200_001, "--frames", 6, *outs)
    assert main("mannequin", MANNEQUIN, list(map(str, words))) == 0
    given = ("--frames", place / "frames", "--asked", place / "poses", "--weights", WEIGHTS)
    for _ in range(2):
        assert run("repose", *given, "--out", place / "found") == 0
    return place


def test_a_wrong_pose_measures_worse(clip, tmp_path):
    poses = read_poses(clip / "poses")
    shifted = np.roll(poses, poses.shape[2] // 16, 2)
    write_poses(tmp_path / "shifted", shifted, PosesInfo("mannequin", "exact"))
    frames = clip / "frames"
    right, wrong = (
        evaluate(
            frames, frames, frames, asked, tmp_path / "report", estimated_poses=clip / "found"
        )["pose"]
        for asked in (clip / "poses", tmp_path / "shifted")
    )
    assert right["part_iou"] > 0.6
    assert right["part_iou"] > wrong["part_iou"] + 0.2
    assert right["silhouette_iou"] > wrong["silhouette_iou"]
    assert right["v_error"] < wrong["v_error"]


def test_the_folder_says_what_was_found(clip):
    asked, info = read_info(clip / "poses"), read_info(clip / "found")
    assert (info.size, info.chart, info.backend) == (asked.size, "mannequin", "mini")
    assert len(info.weights) == 32
    assert all(0.5 < frame.score <= 1 for frame in info.frames)
    for frame, iuv in zip(info.frames, read_poses(clip / "found"), strict=True):
        x0, y0, x1, y1 = map(int, frame.box)
        outside = iuv.copy()
        outside[y0:y1, x0:x1] = 0
        assert iuv.any()
        assert not outside.any()


def test_a_frame_that_shows_nobody_stays_empty(clip, tmp_path):
    walls = np.full((6, *read_info(clip / "poses").size, 3), 128, np.uint8)
    write_frames(tmp_path / "walls", walls, FramesInfo("25"))
    given = ("--asked", clip / "poses", "--weights", WEIGHTS, "--out", tmp_path / "found")
    assert run("repose", "--frames", tmp_path / "walls", *given) == 0
    assert not read_poses(tmp_path / "found").any()
    assert {(f.box, f.score, f.filled) for f in read_info(tmp_path / "found").frames} == {
        (None, 0.0, False)
    }


def test_poses_of_other_frames_are_refused(clip, tmp_path, capsys):
    write_poses(tmp_path / "short", read_poses(clip / "poses")[:2], PosesInfo("mannequin", "exact"))
    given = ("--weights", WEIGHTS, "--out", tmp_path / "found")
    assert run("repose", "--frames", clip / "frames", "--asked", tmp_path / "short", *given) == 2
    assert "give the poses that were sampled" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


def test_who_stands_where_the_pose_was_asked_for_counts():
    boxes = torch.tensor([[0.0, 0, 10, 40], [30, 0, 44, 40]])
    two = Detections("0.png", torch.tensor([0.9, 0.8]), boxes, [])
    assert person_at(two, (32, 0, 42, 40)) == 1
    assert person_at(two, (0, 5, 12, 40)) == 0
    assert person_at(two, None) == 0
    assert person_at(Detections("0.png", torch.zeros(0), torch.zeros(0, 4), []), None) is None
