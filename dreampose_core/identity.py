"""Does the person keep their colours: garment and skin, compared point by point of the surface.

A point of the body is a cell of its part's chart. Its colour in a frame is compared with the
subject's own at the same cell, so that stripes are not averaged away, the back of a coat is not
compared with its front, and what the subject's picture does not show does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.pose_error import LABELS
from dreampose_core.colour import ciede2000, lab

GROUPS = {
    "head": (23, 24),
    "torso": (1, 2),
    "upper arms": (15, 16, 17, 18),
    "lower arms": (19, 20, 21, 22),
    "hands": (3, 4),
    "upper legs": (7, 8, 9, 10),
    "lower legs": (11, 12, 13, 14),
    "feet": (5, 6),
}
"""Part numbers of DensePose, left and right, front and back together."""
_CELLS, _FEWEST = 4, 4
"""Cells along U and along V; pixels that a cell needs in both pictures."""


@dataclass(frozen=True)
class SurfaceColours:
    """Mean CIELAB colour (25, cells, 3) and pixels (25, cells) of each cell of each part."""

    colour: np.ndarray
    pixels: np.ndarray


def surface_colours(image: np.ndarray, iuv: np.ndarray) -> SurfaceColours:
    """Read the surface's colours off RGB (H, W, 3) with its IUV (H, W, 3), both uint8."""
    u, v = (iuv[..., 1:].astype(np.intp) * _CELLS // 256).transpose(2, 0, 1)
    cell = ((iuv[..., 0] * _CELLS**2) + u * _CELLS + v).ravel().astype(np.intp)
    size = LABELS * _CELLS**2
    pixels = np.bincount(cell, minlength=size)
    sums = np.stack([np.bincount(cell, c, size) for c in lab(image).reshape(-1, 3).T], -1)
    colour = sums / np.maximum(pixels, 1)[:, None]
    return SurfaceColours(colour.reshape(LABELS, -1, 3), pixels.reshape(LABELS, -1))


@dataclass(frozen=True)
class ColourChange:
    """ΔE00 summed over a part's pixels (25,), and those pixels (25,)."""

    summed: np.ndarray
    pixels: np.ndarray

    def __add__(self, other: ColourChange) -> ColourChange:
        return ColourChange(self.summed + other.summed, self.pixels + other.pixels)


NO_CHANGE = ColourChange(np.zeros(LABELS), np.zeros(LABELS))


def colour_change(subject: SurfaceColours, frame: SurfaceColours) -> ColourChange:
    """Compare a frame with the subject where both show the surface."""
    both = (subject.pixels >= _FEWEST) & (frame.pixels >= _FEWEST)
    weight = frame.pixels * both
    return ColourChange(
        (ciede2000(subject.colour, frame.colour) * weight).sum(1), weight.sum(1).astype(float)
    )


def summary(change: ColourChange) -> dict[str, float]:
    """Mean ΔE00 of each of GROUPS and of the whole body as "all"; NaN where nothing was seen."""
    parts = {name: list(parts) for name, parts in GROUPS.items()} | {"all": list(range(1, LABELS))}
    return {
        name: float(change.summed[some].sum() / change.pixels[some].sum())
        if change.pixels[some].any()
        else float("nan")
        for name, some in parts.items()
    }
