"""Frames between two seen ones: every point of the body's surface moves evenly between them.

U and V say which pixels of two frames show the same point of the surface; what only one frame
shows moves with its neighbours, or, where nothing near is in both, with the person's box.
Measured by `bench/gaps.py` against the nearest frame, as it is and moved by the box.
IUV images are uint8 (H, W, 3) of the whole frame, boxes x0, y0, x1, y1 in its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from common.poses import PARTS, Box

_BINS = 8
"""A part's U and V are compared in so many steps."""
_REACH = 0.015
"""Standard deviation, in heights of the person, over which motion is averaged."""
_BOX_WEIGHT = 0.01
"""Weight of the box's motion, where a pixel with a partner has 1."""
_ROUNDS = 3


def between(
    first: np.ndarray, second: np.ndarray, first_box: Box, second_box: Box, share: float
) -> np.ndarray:
    """The IUV image `share` (0 to 1) of the way from the first frame to the second."""
    early = moved_towards(first, second, first_box, second_box, share)
    late = moved_towards(second, first, second_box, first_box, 1 - share)
    return vote([early, late], [1 - share, share])


def box_between(first: Box, second: Box, share: float) -> Box:
    """The box `share` of the way from the first to the second."""
    return tuple(float((1 - share) * a + share * b) for a, b in zip(first, second, strict=True))


def moved_towards(
    iuv: np.ndarray, other: np.ndarray, box: Box, other_box: Box, share: float
) -> np.ndarray:
    """The IUV image moved `share` of the way to where the other one shows the same surface."""
    motion = surface_motion(iuv, other, box, other_box)
    target = _grid(iuv)
    source = target
    for _ in range(_ROUNDS):
        there = cv2.remap(motion, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        source = target - np.float32(share) * there
    return cv2.remap(iuv, source, None, cv2.INTER_NEAREST)


def surface_motion(iuv: np.ndarray, other: np.ndarray, box: Box, other_box: Box) -> np.ndarray:
    """By how many pixels (H, W, 2) float32, x and y, each pixel moves to the other frame."""
    rows, columns = np.nonzero(iuv[..., 0])
    shift = (_places(other) - _places(iuv))[_cells(iuv[rows, columns])]
    paired = np.isfinite(shift).all(1)
    known = np.zeros((*iuv.shape[:2], 3), np.float32)
    known[rows[paired], columns[paired], :2] = shift[paired]
    known[rows[paired], columns[paired], 2] = 1
    spread = cv2.GaussianBlur(known, (0, 0), max(1.0, _REACH * (box[3] - box[1])))
    shift, weight = spread[..., :2], spread[..., 2:]
    return (shift + _BOX_WEIGHT * _box_motion(iuv, box, other_box)) / (weight + _BOX_WEIGHT)


def vote(images: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Each pixel's part by weighted vote of IUV images, and the mean U, V of those who gave it.

    Of equal votes the heaviest image's counts, of equal images the first one's.
    """
    labels = np.stack([image[..., 0] for image in images])
    heavy = np.asarray(weights, np.float32)[:, None, None]
    votes = np.stack([((labels == own) * heavy).sum(0) for own in labels])
    winner = (votes + 1e-3 * heavy).argmax(0)
    part = np.take_along_axis(labels, winner[None], 0)[0]
    agreed = (labels == part) * heavy
    uv = sum(a[..., None] * image[..., 1:] for a, image in zip(agreed, images, strict=True))
    uv = np.rint(uv / agreed.sum(0)[..., None])
    return np.concatenate([part[..., None], uv * (part[..., None] > 0)], -1).astype(np.uint8)


def _grid(image: np.ndarray) -> np.ndarray:
    """Each pixel's own x, y (H, W, 2) float32."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return np.stack([columns, rows], -1)


def _cells(pixels: np.ndarray) -> np.ndarray:
    """The cell of the surface (N,) that IUV pixels (N, 3) show."""
    part, u, v = pixels.astype(np.int64).T
    return (part * _BINS + u * _BINS // 256) * _BINS + v * _BINS // 256


def _places(iuv: np.ndarray) -> np.ndarray:
    """The mean x, y (cells, 2) of the pixels of every cell, NaN where it is not seen."""
    rows, columns = np.nonzero(iuv[..., 0])
    cells, total = _cells(iuv[rows, columns]), (PARTS + 1) * _BINS**2
    counts = np.bincount(cells, minlength=total)
    sums = np.stack([np.bincount(cells, c, minlength=total) for c in (columns, rows)], -1)
    return np.where(counts > 0, sums.T / np.maximum(counts, 1), np.nan).T


def _box_motion(image: np.ndarray, box: Box, other: Box) -> np.ndarray:
    """The motion (H, W, 2) of the pixels if the box's sides were all there is."""
    start, end = np.float32(box), np.float32(other)
    scale = (end[2:] - end[:2]) / np.maximum(start[2:] - start[:2], 1)
    grid = _grid(image)
    return (grid - start[:2]) * scale + end[:2] - grid
