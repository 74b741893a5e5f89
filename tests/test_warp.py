"""The reference carried along the surface: onto itself, elsewhere, and from where it is hidden."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dreampose_core.backdrop import backdrop
from dreampose_core.conditioning import Conditioning
from dreampose_core.metrics import psnr
from dreampose_core.warp import CLASSES, warp
from mannequin.motion import Motion, sample_motion
from mannequin.render import render_clip
from mannequin.subject import sample_subject

BACKDROP, EXTENSION, SEEN, HIDDEN = range(4)
FRONT, SIDE, BACK = range(3)


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """One person from the front, from the side and from behind."""
    motion: Motion = sample_motion("showcase", 300_000)
    turned = [int(np.abs(motion.yaw - angle).argmin()) for angle in (0, math.pi / 2, math.pi)]
    return render_clip(sample_subject(200_000), motion, frame_indices=turned)


def carried(image: np.ndarray, iuv: np.ndarray, target: np.ndarray) -> tuple:
    warped = warp(image, iuv, [target])
    return warped.frames[0], warped.shares[0]


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def patch(part: int, *, width: int = 64, height: int = 48) -> np.ndarray:
    """IUV of a picture that one part's whole chart fills, but for a border of background."""
    iuv = np.zeros((height, width, 3), np.uint8)
    inner = iuv[8:-8, 16:-16]
    inner[..., 0] = part
    inner[..., 1] = np.linspace(0, 255, inner.shape[1]).round()
    inner[..., 2] = np.linspace(0, 255, inner.shape[0]).round()[:, None]
    return iuv


def test_classes_are_the_documented_ones():
    assert CLASSES == ("backdrop", "extension", "seen", "hidden")


def test_the_same_pose_gives_the_same_picture(clip):
    for rgb, iuv in zip(*clip, strict=True):
        body = iuv[..., 0] > 0
        moved, classes = carried(rgb, iuv, iuv)
        assert (classes[body] == [0, 0, 1, 0]).all()
        assert error(moved[body], rgb[body]) < 0.1 * error(backdrop(rgb, iuv)[body], rgb[body])
        assert psnr(moved, rgb) > 27


def test_a_shifted_pose_shifts_the_person(clip):
    rgb, iuv = clip[0][FRONT], clip[1][FRONT]
    down, right = 3, 11
    target = np.roll(iuv, (down, right), (0, 1))
    truth = np.roll(rgb, (down, right), (0, 1))
    still, _ = carried(rgb, iuv, iuv)
    moved, classes = carried(rgb, iuv, target)
    body = target[..., 0] > 0
    assert np.array_equal(moved[body], np.roll(still, (down, right), (0, 1))[body])
    assert (classes[body] == [0, 0, 1, 0]).all()

    worn = classes[..., EXTENSION] == 1
    inside = np.zeros_like(worn)
    inside[down:, right:] = True
    assert worn.mean() > 0.1
    assert error(moved[worn & inside], truth[worn & inside]) < 2
    assert error(truth[worn & inside], rgb[worn & inside]) > 4


def test_what_lies_beside_the_body_is_the_reference_s_own(clip):
    """Hair and clothes reach over the bare body's outline and go along with it."""
    rgb, iuv = clip[0][FRONT], clip[1][FRONT]
    empty = backdrop(rgb, iuv)
    beside = (iuv[..., 0] == 0) & (np.abs(rgb.astype(int) - empty).max(-1) > 40)
    moved, classes = carried(rgb, iuv, iuv)
    assert beside.sum() > 50
    assert (classes[beside, EXTENSION] == 1).mean() > 0.8
    assert error(moved[beside], rgb[beside]) < 0.3 * error(empty[beside], rgb[beside])


def test_a_crumb_that_hangs_on_no_body_is_left_out(clip):
    rgb, iuv = clip
    body = iuv[FRONT, ..., 0] > 0
    y = int(np.flatnonzero(body.any(1)).mean())
    x = int(np.flatnonzero(body[y])[-1]) + 8
    assert not body[y - 4 : y + 5, x - 4 : x + 5].any()
    spotted = rgb[FRONT].copy()
    spotted[y - 2 : y + 2, x - 2 : x + 2] = (255, 0, 0)
    made, classes = carried(spotted, iuv[FRONT], iuv[FRONT])
    plain, _ = carried(rgb[FRONT], iuv[FRONT], iuv[FRONT])
    assert error(made[y - 2 : y + 2, x - 2 : x + 2], plain[y - 2 : y + 2, x - 2 : x + 2]) < 5
    assert (classes[y - 2 : y + 2, x - 2 : x + 2, BACKDROP] == 1).all()


def test_an_arm_leaves_behind_what_it_hung_beside():
    """A skirt between the body and a hand stays with the body when the hand goes away."""
    iuv = np.zeros((96, 96, 3), np.uint8)
    for part, place in ((2, np.s_[20:70, 30:44]), (3, np.s_[50:60, 58:64])):
        inner = iuv[place]
        inner[..., 0] = part
        inner[..., 1] = np.linspace(0, 255, inner.shape[1]).round()
        inner[..., 2] = np.linspace(0, 255, inner.shape[0]).round()[:, None]
    image = np.full_like(iuv, 90)
    image[iuv[..., 0] > 0] = 200
    image[45:75, 44:57] = 255, 0, 0
    target = iuv.copy()
    target[50:60, 58:64] = 0
    target[50:60, 78:84] = iuv[50:60, 58:64]
    red = (carried(image, iuv, target)[0].astype(int) @ [1, -1, 0]) > 100
    assert red[50:60, 45:50].all()
    assert not red[:, 60:].any()


def test_classes_sum_to_one_in_any_pose(clip):
    for rgb, iuv in zip(*clip, strict=True):
        for target in clip[1]:
            moved, classes = carried(rgb, iuv, target)
            assert moved.dtype == np.uint8
            np.testing.assert_allclose(classes.sum(-1), 1, atol=1e-6)
            assert classes.min() >= 0
            body = target[..., 0] > 0
            assert not classes[body][:, [BACKDROP, EXTENSION]].any()
            assert not classes[~body][:, [SEEN, HIDDEN]].any()
            kept = classes[..., BACKDROP] == 1
            assert np.array_equal(moved[kept], backdrop(rgb, iuv)[kept])


@settings(max_examples=25)
@given(arrays(np.uint8, (2, 24, 20, 3)), st.integers(0, 100))
def test_any_noise_is_survived(iuvs, seed):
    iuvs[..., 0] %= 25
    image = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), np.uint8)
    moved, classes = carried(image, *iuvs)
    assert moved.shape == image.shape
    np.testing.assert_allclose(classes.sum(-1), 1, atol=1e-6)


def test_a_turned_person_is_seen_less(clip):
    rgb, iuv = clip[0][FRONT], clip[1][FRONT]
    seen = [carried(rgb, iuv, target)[1][target[..., 0] > 0][:, SEEN].mean() for target in clip[1]]
    assert seen[FRONT] == 1
    assert seen[BACK] < seen[SIDE] < 0.7
    assert seen[BACK] < 0.35


@pytest.mark.parametrize(
    ("seen", "wanted", "flipped", "penalty"),
    [
        (2, 1, True, 6),  # the back of the torso from its front
        (9, 7, True, 6),  # the back of a thigh from its front
        (15, 16, True, 10),  # the right upper arm from the left one
        (15, 18, False, 16),  # its back, from the front of the left one
        (23, 24, False, 10),  # the left of the head from the right
        (3, 4, True, 10),  # a hand from the other
    ],
)
def test_hidden_parts_borrow(seen, wanted, flipped, penalty):
    reference, target = patch(seen), patch(wanted)
    image = np.full_like(reference, 90)
    image[8:-8, 16:-16, 0] = np.linspace(0, 240, 32).round()
    image[8:-8, 16:-16, 1] = np.linspace(0, 240, 32).round()[:, None]
    moved, classes = carried(image, reference, target)
    inner = image[8:-8, 16:-16]
    expected = inner[:, ::-1] if flipped else inner
    assert np.abs(moved[8:-8, 16:-16].astype(int) - expected).max() <= 8  # a bin's width
    share = classes[8:-8, 16:-16]
    np.testing.assert_allclose(share[..., SEEN], math.exp(-penalty / 4), rtol=1e-5)
    np.testing.assert_allclose(share[..., HIDDEN], 1 - math.exp(-penalty / 4), rtol=1e-5)


def test_nothing_is_borrowed_from_another_part():
    """Where the reference shows neither the part nor a relative, all of it counts as hidden."""
    _, classes = carried(np.full((48, 64, 3), 90, np.uint8), patch(2), patch(5))
    assert (classes[8:-8, 16:-16, HIDDEN] > 0.999).all()


def test_half_a_torso_fills_from_its_edge_then_from_its_mirror():
    reference, target = patch(2), patch(2)
    reference[:, 32:] = 0  # only U below one half is seen: 16 of 32 bins
    image = np.zeros_like(reference)
    image[:, :31], image[:, 31] = 40, 200
    moved, classes = carried(image, reference, target)
    assert (moved[8:-8, 16:30] == 40).all()
    assert (moved[8:-8, 32:41] == 200).all()  # less than 10 bins, a mirror's price, away
    assert (moved[8:-8, 42:48] == 40).all()
    distance = [*[0] * 16, *range(1, 10), *[10] * 7]
    expected = 1 - np.exp(-np.array(distance) / 4)
    np.testing.assert_allclose(classes[20, 16:-16, HIDDEN], expected, atol=1e-5)


def test_without_a_pose_the_backdrop_remains(clip):
    rgb, iuv = clip[0][FRONT], clip[1][FRONT]
    nobody = np.zeros_like(iuv)
    for image, reference, target in ((rgb, iuv, nobody), (rgb, nobody, iuv)):
        moved, classes = carried(image, reference, target)
        assert np.array_equal(moved, backdrop(image, reference))
        assert (classes == [1, 0, 0, 0]).all()
    assert np.array_equal(carried(rgb, nobody, iuv)[0], rgb)


def test_backdrop_takes_the_person_out():
    rows = np.linspace(60, 200, 80).astype(np.uint8)[:, None, None]
    wall = np.broadcast_to(rows, (80, 64, 3)).copy()
    iuv = np.zeros_like(wall)
    iuv[20:70, 26:38] = 2, 100, 100
    image = wall.copy()
    image[15:72, 22:42] = 255, 0, 0  # the clothes are wider than the body
    assert np.array_equal(backdrop(image, iuv), wall)


def test_backdrop_of_a_picture_full_of_person():
    iuv = np.full((40, 40, 3), 2, np.uint8)
    image = np.random.default_rng(0).integers(0, 256, iuv.shape, np.uint8)
    empty = backdrop(image, iuv)
    border = np.concatenate([image[:, :2], image[:, -2:]], 1)
    assert np.array_equal(empty[:, 20], np.median(border, 1).astype(np.uint8))


def test_a_clip_and_its_classes_on_the_latent_grid(clip):
    conditioning = Conditioning(height=160, width=128, latent_channels=4, warp=True)
    rgb, iuv = clip
    warped = warp(rgb[FRONT], iuv[FRONT], iuv)
    maps = conditioning.class_maps(warped.shares)
    assert np.array_equal(warped.empty, backdrop(rgb[FRONT], iuv[FRONT]))
    assert maps.shape == (3, 16, 20, 16)
    for target, frame, cells in zip(iuv, warped.frames, maps, strict=True):
        moved, classes = carried(rgb[FRONT], iuv[FRONT], target)
        assert np.array_equal(frame, moved)
        blocks = classes.reshape(20, 2, 4, 16, 2, 4, 4).mean((2, 5))  # row, sub, column, sub
        expected = blocks.transpose(4, 1, 3, 0, 2).reshape(16, 20, 16)
        np.testing.assert_allclose(cells, expected, atol=1e-6)


def test_places_between_bins_are_interpolated():
    """A ramp across a part drawn three times as wide has no steps of a bin."""
    small, large = patch(2), patch(2, width=160, height=48)
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:-8, 16:-16] = np.linspace(40, 240, 32).round()[None, :, None]
    wide = np.zeros((48, 160, 3), np.uint8)
    image_wide, iuv_wide = wide.copy(), wide.copy()
    image_wide[:, :64], iuv_wide[:, :64] = image, small
    moved = warp(image_wide, iuv_wide, [large]).moved[0, 24, 20:-20, 0].astype(int)
    steps = np.diff(moved)
    assert steps.min() >= -1
    assert steps.max() <= 4  # nearest bins: 6 to 7


def test_what_hides_a_part_is_not_taken_for_it():
    whole, hidden = patch(2), patch(2)
    hidden[8:-8, 26:38] = 21, 128, 128  # an arm before the body's middle
    image = np.full((48, 64, 3), 90, np.uint8)
    image[hidden[..., 0] == 2] = 0, 200, 0
    image[hidden[..., 0] == 21] = 250, 0, 0
    moved = warp(image, hidden, [whole]).moved[0]
    taken = (moved[..., 0] > 125) & (whole[..., 0] > 0)
    assert taken.sum() < 0.02 * (hidden[..., 0] == 21).sum()
