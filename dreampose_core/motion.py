"""Does what is carried by the motion keep its look: the warped difference (Lai et al. 2018)."""

from __future__ import annotations

import cv2
import numpy as np

_SLACK, _SHARE = 0.5, 0.01
"""Squared pixels, and share of the squared motion, by which there and back may differ."""


def motion(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of `second` were in `first`, both RGB uint8 (H, W, 3).

    Returns the dense flow (H, W, 2) in pixels (x, y), by inverse search (Kroeger et al. 2016),
    and a mask (H, W) of the pixels whose way there and back agrees, which leaves out what was
    hidden (Sundaram et al. 2010).
    """
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = search.calc(grey[1], grey[0], None), search.calc(grey[0], grey[1], None)
    returned = moved(back, there)
    apart = np.square(there + returned).sum(-1)
    far = np.square(there).sum(-1) + np.square(returned).sum(-1)
    return there, apart < _SHARE * far + _SLACK


def moved(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """`image` (H, W, C) taken at each pixel plus its `flow` (H, W, 2), edges repeated."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def warped_difference(
    first: np.ndarray, second: np.ndarray, flow: np.ndarray, seen: np.ndarray
) -> float:
    """Mean |second − first carried along `flow`|, 0–1, where `seen`; NaN where nothing is.

    Frames are RGB uint8 (H, W, 3); `flow` and `seen` are of `motion`, of these or other frames.
    """
    carried = moved(first.astype(np.float32), flow)
    difference = np.abs(second - carried).mean(-1)[seen]
    return float(difference.mean() / 255) if difference.size else float("nan")
