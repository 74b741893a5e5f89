"""Colour, identity, motion, pose and feature distances against published or hand-made values."""

import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from common import pose_error
from common.errors import InputError
from dreampose_core import identity, perceptual
from dreampose_core.colour import ciede2000, lab
from dreampose_core.motion import motion, moved, warped_difference

SHARMA = """
50 2.6772 -79.7751 50 0 -82.7485 2.0425
50 3.1571 -77.2803 50 0 -82.7485 2.8615
50 2.8361 -74.0200 50 0 -82.7485 3.4412
50 -1.3802 -84.2814 50 0 -82.7485 1.0000
50 -1.1848 -84.8006 50 0 -82.7485 1.0000
50 -0.9009 -85.5211 50 0 -82.7485 1.0000
50 0 0 50 -1 2 2.3669
50 -1 2 50 0 0 2.3669
50 2.4900 -0.0010 50 -2.4900 0.0009 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0010 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0011 7.2195
50 2.4900 -0.0010 50 -2.4900 0.0012 7.2195
50 -0.0010 2.4900 50 0.0009 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0010 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0011 -2.4900 4.7461
50 2.5 0 50 0 -2.5 4.3065
50 2.5 0 73 25 -18 27.1492
50 2.5 0 61 -5 29 22.8977
50 2.5 0 56 -27 -3 31.9030
50 2.5 0 58 24 15 19.4535
50 2.5 0 50 3.1736 0.5854 1.0000
50 2.5 0 50 3.2972 0 1.0000
50 2.5 0 50 1.8634 0.5757 1.0000
50 2.5 0 50 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""
"""Test data of Sharma, Wu and Dalal 2005: two colours, ΔE00."""


def test_ciede2000_as_published():
    rows = np.array([line.split() for line in SHARMA.split("\n") if line], float)
    assert np.abs(ciede2000(rows[:, :3], rows[:, 3:6]) - rows[:, 6]).max() < 6e-5
    assert np.allclose(ciede2000(rows[:, :3], rows[:, 3:6]), ciede2000(rows[:, 3:6], rows[:, :3]))


def test_lab_of_known_colours():
    known = {
        (255, 255, 255): (100, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (119, 119, 119): (50.03, 0, 0),
    }
    found = lab(np.array(list(known), np.uint8)[None])[0]
    assert np.abs(found - np.array(list(known.values()))).max() < 0.3


def body(shift: int = 0) -> np.ndarray:
    """IUV (32, 48, 3): a torso (2) beside an upper leg (8), U across and V down, moved right."""
    iuv = np.zeros((32, 48, 3), np.uint8)
    y, x = np.mgrid[:16, :16]
    for part, left in ((2, 2), (8, 20)):
        patch = np.stack([np.full_like(x, part), x * 16, y * 16], -1)
        iuv[8:24, left + shift : left + shift + 16] = patch
    return iuv


def dressed(iuv: np.ndarray, torso: tuple, leg: tuple) -> np.ndarray:
    image = np.full((*iuv.shape[:2], 3), 200, np.uint8)
    image[iuv[..., 0] == 2] = torso
    image[iuv[..., 0] == 8] = leg
    return image


def test_identity_compares_the_surface_not_the_place():
    red, blue, green = (200, 30, 30), (30, 30, 200), (30, 160, 60)
    own = identity.surface_colours(dressed(body(), red, blue), body())
    same = identity.surface_colours(dressed(body(5), red, blue), body(5))
    figures = identity.summary(identity.colour_change(own, same))
    assert figures["torso"] == figures["upper legs"] == figures["all"] == 0
    assert np.isnan(figures["head"])
    other = identity.surface_colours(dressed(body(5), red, green), body(5))
    figures = identity.summary(identity.colour_change(own, other))
    wanted = ciede2000(*lab(np.array([[blue], [green]], np.uint8)))[0]
    assert figures["torso"] == 0
    assert figures["upper legs"] == pytest.approx(wanted, abs=1e-3)
    assert figures["all"] == pytest.approx(wanted / 2, abs=1e-3)


def test_identity_does_not_average_stripes_away():
    iuv = body()
    striped = dressed(iuv, (0, 0, 0), (0, 0, 0))
    striped[8:24, 2:10] = 255
    turned = striped.copy()
    turned[8:24, 2:10], turned[8:24, 10:18] = 0, 255
    colours = [identity.surface_colours(image, iuv) for image in (striped, turned)]
    assert identity.summary(identity.colour_change(*colours))["torso"] > 90


def test_identity_leaves_out_what_the_subject_does_not_show():
    hidden = body()
    hidden[hidden[..., 0] == 8] = 0
    own = identity.surface_colours(dressed(hidden, (9, 9, 9), (9, 9, 9)), hidden)
    frame = identity.surface_colours(dressed(body(), (9, 9, 9), (250, 0, 0)), body())
    figures = identity.summary(identity.colour_change(own, frame))
    assert figures["all"] == 0
    assert np.isnan(figures["upper legs"])


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.5)


def test_motion_of_a_shift():
    wide = texture()
    first, second = wide[8:72, 8:72], wide[6:70, 5:69]
    flow, seen = motion(first, second)
    inner = flow[10:-10, 10:-10]
    assert np.abs(inner - (-3, -2)).mean() < 0.15
    assert seen[10:-10, 10:-10].mean() > 0.95
    known = np.broadcast_to(np.float32([-3, -2]), (64, 64, 2))
    assert (moved(first, known)[3:-3, 4:-4] == second[3:-3, 4:-4]).all()


def test_warped_difference_by_hand():
    wide = texture()
    first, second = wide[8:72, 8:72], wide[6:70, 5:69]
    flow = np.broadcast_to(np.float32([-3, -2]), (64, 64, 2))
    inner = np.zeros((64, 64), bool)
    inner[8:-8, 8:-8] = True
    assert warped_difference(first, second, flow, inner) == pytest.approx(0, abs=1e-6)
    brighter = np.minimum(second, 235) + np.uint8(20)
    dimmer = np.minimum(first, 235)
    assert warped_difference(dimmer, brighter, flow, inner) == pytest.approx(20 / 255, abs=1e-6)
    assert np.isnan(warped_difference(first, second, flow, np.zeros_like(inner)))
    still = np.zeros_like(flow)
    assert warped_difference(first, second, still, inner) > 0.02


def test_pose_error_by_hand():
    asked, found = np.zeros((2, 2, 4, 3), np.uint8)
    asked[0, :, 0] = 1, 1, 2, 0
    found[0, :, 0] = 1, 2, 2, 2
    asked[0, :, 1:], found[0, :, 1:] = (100, 50), (151, 50)
    error = pose_error.pose_error(found, asked)
    figures = pose_error.summary(error)
    assert figures["part_iou"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert figures["silhouette_iou"] == pytest.approx(3 / 4)
    assert figures["u_error"] == pytest.approx(51 / 255)
    assert figures["v_error"] == 0
    twice = pose_error.summary(error + error)
    assert twice == pytest.approx(figures)
    assert all(np.isnan(v) for v in pose_error.summary(pose_error.NO_PIXELS).values())


@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(6, 40))
def test_frechet_distance_as_defined(seed, n, m):
    random = np.random.default_rng(seed)
    a, b = random.normal(0, 1, (n, 5)), random.normal(0.5, 2, (m, 5))
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(c1 @ c2 + 1e-12 * np.eye(5)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c1 + c2 - 2 * root)
    assert perceptual.frechet_distance(a, b) == pytest.approx(expected, abs=1e-4, rel=1e-4)
    assert perceptual.frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def clips(count: int = 4, side: int = 64) -> list:
    frames = np.random.default_rng(0).integers(0, 256, (2, count, side, side, 3), np.uint8)
    return [(frames[0], frames[1])]


@pytest.mark.parametrize(
    ("figure", "module"),
    [
        (perceptual.lpips, "lpips"),
        (perceptual.fid, "torch_fidelity.feature_extractor_inceptionv3"),
    ],
)
def test_a_missing_package_is_named(figure, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module.split(".")[0], None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match="pip install"):
        figure(clips())


def test_weights_that_cannot_be_fetched_are_named(monkeypatch):
    def unreachable(**_):
        raise OSError("no route to host")

    package = ModuleType("lpips")
    package.LPIPS = unreachable
    monkeypatch.setitem(sys.modules, "lpips", package)
    with pytest.raises(InputError, match="weights of LPIPS cannot be fetched"):
        perceptual.lpips(clips())


class Halves(torch.nn.Module):
    """Stands for a network: distance of mean brightness, from pictures in [−1, 1]."""

    def forward(self, a, b):
        return (a.mean((1, 2, 3)) - b.mean((1, 2, 3))).abs()


def test_lpips_is_given_what_it_wants(monkeypatch):
    package = ModuleType("lpips")
    package.LPIPS = lambda net, verbose: Halves()
    monkeypatch.setitem(sys.modules, "lpips", package)
    black, white = np.zeros((3, 64, 80, 3), np.uint8), np.full((3, 64, 80, 3), 255, np.uint8)
    figure = perceptual.lpips([(black, white), (black[:1], black[:1])])
    assert figure["value"] == pytest.approx(2 * 3 / 4)
    assert (figure["resolution"], figure["frames"]) == ([64, 80], "all 4")
    with pytest.raises(InputError, match="use 64 or more"):
        perceptual.lpips(clips(side=32))


class Video(torch.nn.Module):
    """Stands for I3D: mean colour of a clip (1, 3, T, H, W) as features."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool):
        assert list(x.shape) == [1, 3, 16, 224, 224]
        return x.mean([2, 3, 4])


def test_fvd_of_clips(tmp_path):
    weights = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(Video()).save(str(weights))
    made, truth = (np.random.default_rng(s).integers(0, 256, (3, 16, 32, 32, 3)) for s in (0, 1))
    windows = [(a.astype(np.uint8), b.astype(np.uint8)) for a, b in zip(made, truth, strict=True)]
    figure = perceptual.fvd(windows, weights)
    features = [(2 * x.mean((1, 2, 3)) / 255 - 1) for x in (made, truth)]
    assert figure["value"] == pytest.approx(perceptual.frechet_distance(*features), abs=1e-4)
    assert "3 clips of 16 frames" in figure["frames"]
    with pytest.raises(InputError, match="longer clip"):
        perceptual.fvd(windows[:1], weights)
    with pytest.raises(InputError, match="too short"):
        perceptual.fvd([], weights)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "i3d.pt").write_text("no network")
    with pytest.raises(InputError, match="i3d_torchscript"):
        perceptual.fvd([], tmp_path / "i3d.pt")
    with pytest.raises(InputError, match="i3d_torchscript"):
        perceptual.fvd([], tmp_path / "missing.pt")
