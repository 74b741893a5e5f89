"""One person through a clip: tracks, gaps, smoothing, previews."""

import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest

from common.errors import InputError
from common.frames import FramesInfo, write_frames
from common.images import Fit, read_png
from common.poses import FramePose, PosesInfo, part_box, write_poses
from densepose_prep.filling import between, box_between, surface_motion, vote
from densepose_prep.preview import overlay, preview_size, write_previews
from densepose_prep.smoothing import smoothed, smoothed_box, window
from densepose_prep.tracking import follow, overlaps, tracks

SIZE = (100, 200)


def box(x: float, width: float = 20, y: float = 10, height: float = 60) -> tuple:
    return x, y, x + width, y + height


def clip(*frames: list[tuple], scores: list[list[float]] | None = None) -> tuple[list, list]:
    """Boxes and scores of a clip; all scores .9 unless given."""
    boxes = [np.array(frame, np.float32).reshape(-1, 4) for frame in frames]
    return boxes, [np.array(s) for s in scores or [[0.9] * len(frame) for frame in frames]]


def surface(height: int, width: int, top: int, left: int, tall: int = 60) -> np.ndarray:
    """IUV of an upright body whose U, V run evenly over a torso and a leg."""
    iuv = np.zeros((height, width, 3), np.uint8)
    v, u = np.mgrid[: tall // 2, : tall // 3]
    for part, start in ((2, top), (7, top + tall // 2)):
        piece = [np.full_like(u, part), u * 255 // u.max(), v * 255 // v.max()]
        iuv[start : start + tall // 2, left : left + tall // 3] = np.stack(piece, -1)
    return iuv


class TestTracking:
    def test_overlap_is_intersection_over_union(self):
        boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], float)
        np.testing.assert_allclose(
            overlaps(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]], atol=1e-6
        )

    def test_persons_whose_order_changes_are_followed(self):
        a, b = box(10), box(100, 30)
        boxes, scores = clip([a, b], [b, a], [a, b])
        assert follow(boxes, scores, "largest", SIZE) == [1, 0, 1]

    def test_persons_who_cross_keep_apart(self):
        """Both of the same size, walking through each other at a steady pace."""
        frames = [[box(10 + 6 * i), box(130 - 6 * i)] for i in range(20)]
        assert tracks(*clip(*frames)) == [dict.fromkeys(range(20), n) for n in (0, 1)]

    def test_nobody_takes_the_place_of_who_is_hidden(self):
        one, two = box(10, 30), box(35)
        boxes, scores = clip([one, two], [one, two], [two], [two], [one, two])
        assert follow(boxes, scores, 0, SIZE) == [0, 0, None, None, 0]

    def test_who_comes_back_elsewhere_is_the_same_if_nobody_else_can_be(self):
        boxes, scores = clip([box(10)], [box(12)], [], [box(120)], [box(122), box(10, 3, 10, 9)])
        assert follow(boxes, scores, "largest", SIZE) == [0, 0, None, 0, 0]

    def test_a_false_sighting_in_the_first_frame_is_not_chosen(self):
        frames = [[box(100, 90)], *([box(10 + i)] for i in range(9))]
        assert follow(*clip(*frames), "center", SIZE) == [None, *[0] * 9]

    def test_of_two_boxes_of_one_person_the_surer_is_taken(self):
        boxes, scores = clip([box(10)], [box(11), box(10)], scores=[[0.9], [0.2, 0.9]])
        assert follow(boxes, scores, "largest", SIZE) == [0, 1]

    def test_persons_can_be_chosen(self):
        left, middle, right = box(0, 60), box(90), box(150, 30)
        scores = [[], *[[0.7, 0.9, 0.8]] * 2]
        boxes, scores = clip([], *[[left, middle, right]] * 2, scores=scores)
        choices = {"largest": 0, "center": 1, 0: 1, 1: 2, 2: 0}
        for choice, person in choices.items():
            assert follow(boxes, scores, choice, SIZE) == [None, person, person]
        for choice in (3, -1):
            with pytest.raises(InputError, match=f"no person {choice}: frame 1 shows 3"):
                follow(boxes, scores, choice, SIZE)

    def test_a_clip_with_nobody(self):
        assert follow(*clip([], []), "largest", SIZE) == [None, None]


class TestFilling:
    def test_every_point_moves_evenly(self):
        first, second = surface(100, 120, 20, 20), surface(100, 120, 24, 40)
        made = between(first, second, part_box(first), part_box(second), 0.25)
        np.testing.assert_array_equal(made, surface(100, 120, 21, 25))

    def test_parts_that_move_apart_are_both_followed(self):
        first = surface(100, 120, 20, 20)
        second = np.roll(first * (first[..., :1] == 2), 8, 1) + first * (first[..., :1] == 7)
        motion = surface_motion(first, second, part_box(first), part_box(second))
        assert motion[30, 30] == pytest.approx((8, 0), abs=0.5)
        assert motion[70, 30] == pytest.approx((0, 0), abs=0.5)

    def test_what_shares_no_surface_moves_with_the_box(self):
        first = surface(100, 120, 20, 20)
        second = np.roll(first, 10, 1)
        second[..., 0] = np.where(second[..., 0] > 0, second[..., 0] + 1, 0)
        made = between(first, second, part_box(first), part_box(second), 0.4)
        np.testing.assert_array_equal(made, np.roll(first, 4, 1))

    def test_boxes_are_interpolated(self):
        assert box_between((0, 0, 10, 20), (8, 4, 18, 32), 0.25) == (2, 1, 12, 23)

    def test_the_majority_gives_the_part_and_its_own_mean(self):
        images = [np.full((1, 1, 3), value, np.uint8) for value in ((1, 10, 10), (2, 90, 90))]
        assert vote([*images, images[0]], [1, 1, 1]).tolist() == [[[1, 10, 10]]]
        assert vote(images, [1, 2]).tolist() == [[[2, 90, 90]]]
        assert vote(images, [1, 1]).tolist() == [[[1, 10, 10]]]
        other = np.full((1, 1, 3), (1, 40, 20), np.uint8)
        assert vote([images[0], other], [2, 1]).tolist() == [[[1, 20, 13]]]

    def test_filled_frames_are_near_the_truth(self):
        """The bar of `bench/gaps.py`, on one clip."""
        place = Path(__file__).parents[1] / "bench/gaps.py"
        spec = importlib.util.spec_from_file_location("gaps", place)
        bench = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(bench)
        _, truth = bench.rendered(bench.VALIDATION, 2)
        change, errors = bench.gaps(truth, 0)
        assert np.mean(errors["filled"]) < 1.5 * change
        assert np.mean(errors["filled"]) < 0.9 * np.mean(errors["the nearest frame"])


class TestSmoothing:
    def test_windows_are_symmetric(self):
        assert [list(window(i, 6)) for i in (0, 1, 2, 5)] == [[0], [0, 1, 2], [*range(5)], [5]]

    def test_an_even_motion_stays_as_it_is(self):
        """Zero phase: nothing lags, not even with one frame in the middle spoilt."""
        iuvs = [surface(100, 160, 20, 20 + 6 * i) for i in range(5)]
        boxes = [part_box(iuv) for iuv in iuvs]
        truth = iuvs[2].copy()
        iuvs[2][40:50, 40:44] = 9, 0, 0
        made = smoothed(iuvs, boxes)
        np.testing.assert_array_equal(made[..., 0], truth[..., 0])
        np.testing.assert_allclose(made.astype(int), truth, atol=10)
        assert smoothed_box(boxes) == boxes[2]


class TestPreviews:
    def test_the_video_has_every_frame_and_marks_the_filled(self, tmp_path):
        iuv = surface(81, 60, 10, 10)
        grey = np.full((4, 81, 60, 3), 100, np.uint8)
        found = [FramePose(part_box(iuv), 1.0, filled=i == 2) for i in range(4)]
        write_frames(tmp_path / "frames", grey, FramesInfo("10"))
        info = PosesInfo("mannequin", "mini", fps="10", frames=found)
        write_poses(tmp_path / "poses", [iuv] * 4, info)
        write_previews(tmp_path / "out", tmp_path / "frames", tmp_path / "poses")
        with av.open(str(tmp_path / "out/preview.mp4")) as video:
            shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert len(shown) == 4
        orange = [frame[0, 20, 0] > frame[0, 20, 2] + 100 for frame in shown]
        assert orange == [False, False, True, False]
        assert np.abs(shown[0][75, 50].astype(int) - 100).max() < 8
        assert np.ptp(shown[0][20, 20].astype(int)) > 20
        assert read_png(tmp_path / "out/sheet.png").shape == (3 * 83 - 2, 4 * 62 - 2, 3)

    def test_large_frames_are_shown_small(self):
        assert preview_size((1280, 720)) == (640, 360)
        assert preview_size((160, 128)) == (160, 128)
        fit = Fit.whole((200, 100), (100, 50))
        shown = overlay(
            np.full((200, 100, 3), 90, np.uint8), surface(200, 100, 20, 20), fit, filled=False
        )
        assert shown.shape == (100, 50, 3)
        assert shown[90, 40].tolist() == [90, 90, 90]
