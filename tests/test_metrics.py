"""The figures against values worked out by hand, and what must hold for any pictures."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from dreampose_core import metrics

pictures = arrays(np.uint8, (16, 12, 3))
clips = arrays(np.uint8, (3, 16, 12, 3))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Pictures this small only lose by more, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def plain_ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The SSIM map (H, W, 3) of Wang et al. 2004, Gaussian window of σ 1.5 and 11 pixels."""

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, (1.5, 1.5, 0), mode="mirror", radius=(5, 5, 0))

    a, b = a / 255, b / 255
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    return luminance * (2 * covariance + 9e-4) / (var_a + var_b + 9e-4)


def test_by_hand():
    black, grey = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 51, np.uint8)
    assert metrics.l1(black, grey) == pytest.approx(0.2)
    assert metrics.psnr(black, grey) == pytest.approx(-10 * math.log10(0.04), abs=1e-4)
    assert metrics.psnr(black, black) == metrics.MAX_PSNR
    assert metrics.ssim(black, black) == 1


def test_a_batch_is_the_mean_of_its_pictures():
    a, b = noise(0, 3, 20, 24, 3), noise(1, 3, 20, 24, 3)
    b[1] = a[1]
    mask = noise(2, 3, 20, 24) > 128
    for figure in (metrics.l1, metrics.psnr, metrics.ssim):
        each = [figure(x, y) for x, y in zip(a, b, strict=True)]
        assert figure(a, b) == pytest.approx(np.mean(each), abs=1e-4)
    for figure in (metrics.masked_psnr, metrics.masked_ssim):
        each = [figure(x, y, m) for x, y, m in zip(a, b, mask, strict=True)]
        assert figure(a, b, mask) == pytest.approx(np.mean(each), abs=1e-4)


def test_all_of_each_picture_at_once():
    a, b = noise(0, 3, 20, 24, 3), noise(1, 3, 20, 24, 3)
    b[1] = a[1]
    mask = noise(2, 3, 20, 24) > 128
    mask[2] = False
    found = metrics.by_picture(a, b, mask)
    for i, (x, y, m) in enumerate(zip(a, b, mask, strict=True)):
        assert found["psnr"][i] == pytest.approx(metrics.psnr(x, y), abs=1e-4)
        assert found["ssim"][i] == pytest.approx(metrics.ssim(x, y), abs=1e-4)
        inside = metrics.masked_psnr(x, y, m), metrics.masked_ssim(x, y, m)
        said = found["person_psnr"][i], found["person_ssim"][i]
        assert said == pytest.approx(inside, abs=1e-4, nan_ok=True)


def test_ssim_as_published():
    a, b = noise(0, 40, 30, 3), noise(1, 40, 30, 3)
    b = (0.7 * a + 0.3 * b).astype(np.uint8)
    mask = np.zeros((40, 30), bool)
    mask[5:20, 8:28] = True
    expected = plain_ssim_map(a, b)
    assert metrics.ssim(a, b) == pytest.approx(expected.mean(), abs=1e-4)
    assert metrics.masked_ssim(a, b, mask) == pytest.approx(expected[mask].mean(), abs=1e-4)


def test_masked_psnr_sees_only_the_mask():
    a, b = noise(0, 20, 24, 3), noise(1, 20, 24, 3)
    mask = np.zeros((20, 24), bool)
    mask[2:9, 3:7] = True
    error = ((a / 255 - b / 255) ** 2)[mask].mean()
    assert metrics.masked_psnr(a, b, mask) == pytest.approx(-10 * math.log10(error), abs=1e-4)
    b[mask] = a[mask]
    assert metrics.masked_psnr(a, b, mask) == metrics.MAX_PSNR


def test_empty_masks_are_left_out():
    a, b = noise(0, 2, 16, 16, 3), noise(1, 2, 16, 16, 3)
    mask = np.zeros((2, 16, 16), bool)
    assert math.isnan(metrics.masked_psnr(a, b, mask))
    assert math.isnan(metrics.masked_ssim(a, b, mask))
    mask[1, 3:9, 3:9] = True
    assert metrics.masked_psnr(a, b, mask) == pytest.approx(
        metrics.masked_psnr(a[1], b[1], mask[1])
    )
    assert metrics.masked_ssim(a, b, mask) == pytest.approx(
        metrics.masked_ssim(a[1], b[1], mask[1])
    )


def test_flicker_by_hand():
    frames = np.full((3, 8, 8, 3), 100, np.uint8)
    background = np.ones((3, 8, 8), bool)
    assert metrics.flicker(frames, background) == 0
    frames[1] += 51
    assert metrics.flicker(frames, background) == pytest.approx(0.2)
    background[1] = False
    assert math.isnan(metrics.flicker(frames, background))
    background[1, 0, 0] = True
    frames[1, 0, 0] = 100, 151, 100
    assert metrics.flicker(frames, background) == pytest.approx(0.2 * 0.7152)


def test_colour_flicker_by_hand():
    frames = np.full((2, 8, 8, 3), 100, np.uint8)
    background = np.ones((2, 8, 8), bool)
    frames[1] = 140
    assert metrics.colour_flicker(frames, background) == pytest.approx(0, abs=0.05)
    frames[0], frames[1] = (255, 0, 0), (0, 255, 0)
    red, green = np.array([80.09, 67.20]), np.array([-86.18, 83.18])
    expected = np.linalg.norm(red - green)
    assert metrics.colour_flicker(frames, background) == pytest.approx(expected, abs=0.5)
    background[0, 2:] = False
    frames[1, :2] = frames[0, :2]
    assert metrics.colour_flicker(frames, background) == 0
    assert math.isnan(metrics.colour_flicker(frames, np.zeros_like(background)))


def test_a_moving_person_is_no_flicker():
    frames = np.full((4, 8, 8, 3), 90, np.uint8)
    background = np.ones((4, 8, 8), bool)
    for t in range(4):
        frames[t, :, 2 * t : 2 * t + 2] = 255
        background[t, :, 2 * t : 2 * t + 2] = False
    assert metrics.flicker(frames, background) == 0
    assert metrics.flicker(frames, np.ones_like(background)) > 0.1


@settings(max_examples=25)
@given(clips, clips, arrays(bool, (3, 16, 12)))
def test_any_pictures(a, b, mask):
    for figure in (metrics.l1, metrics.psnr, metrics.ssim):
        assert figure(a, b) == pytest.approx(figure(b, a), abs=1e-5)
        as_floats = figure(torch.from_numpy(a).float() / 255, b.astype(np.float64) / 255)
        assert figure(a, b) == pytest.approx(as_floats, abs=1e-4)
    assert 0 <= metrics.l1(a, b) <= 1
    assert -1e-4 <= metrics.psnr(a, b) <= metrics.MAX_PSNR
    assert -1 <= metrics.ssim(a, b) <= 1 + 1e-6
    everywhere = np.ones_like(mask)
    assert metrics.masked_psnr(a, b, everywhere) == pytest.approx(metrics.psnr(a, b), abs=1e-3)
    assert metrics.masked_ssim(a, b, everywhere) == pytest.approx(metrics.ssim(a, b), abs=1e-4)
    if mask.any():
        assert metrics.masked_psnr(a, a, mask) == metrics.MAX_PSNR


@given(pictures, st.integers(1, 40))
def test_more_error_is_a_lower_psnr(picture, error):
    low = np.minimum(picture, 170)
    little, much = low + np.uint8(error), low + np.uint8(2 * error)
    assert metrics.psnr(low, little) > metrics.psnr(low, much)
    assert metrics.l1(low, little) == pytest.approx(error / 255, abs=1e-5)
