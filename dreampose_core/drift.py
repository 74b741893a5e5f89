"""How far colours wander over a clip: each body part at its end against the same at its start.

Part by part, because a turned body shows other parts and a mean over all of it would move.
"""

from __future__ import annotations

import cv2
import numpy as np

from common.poses import PARTS

_ENDS = 5
"""A clip's start and its end are a fifth of it each."""


class Drift:
    """Takes in a clip frame by frame; knows how far its colours wandered."""

    def __init__(self, count: int):
        self.count, self.index = count, 0
        self.sums, self.pixels = np.zeros((2, PARTS + 1, 3)), np.zeros((2, PARTS + 1))

    def add(self, image: np.ndarray, iuv: np.ndarray) -> None:
        """The next frame, RGB uint8 (H, W, 3), and its IUV image of the same size."""
        span = max(1, self.count // _ENDS)
        ends = [self.index < span, self.index >= self.count - span]
        self.index += 1
        if not any(ends):
            return
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
        parts = iuv[..., 0].ravel()
        for end in np.flatnonzero(ends):
            self.pixels[end] += np.bincount(parts, minlength=PARTS + 1)
            for channel in range(3):
                self.sums[end, :, channel] += np.bincount(parts, lab[:, channel], PARTS + 1)

    def figures(self) -> dict[str, float | None]:
        """ΔE (CIE 1976) of the background and of the person, its parts weighted by their area.

        None where a thing is not seen at both ends or the clip is too short to have two.
        """
        if self.count < 2:
            return {"background": None, "person": None}
        seen = self.pixels.min(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self.sums / self.pixels[..., None]
        distance = np.where(seen > 0, np.linalg.norm(means[1] - means[0], axis=-1), 0)
        return {
            "background": _weighted(distance[:1], seen[:1]),
            "person": _weighted(distance[1:], seen[1:]),
        }


def _weighted(distance: np.ndarray, pixels: np.ndarray) -> float | None:
    return round(float((distance * pixels).sum() / pixels.sum()), 5) if pixels.any() else None
