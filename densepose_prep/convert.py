"""IUV in the form of the reference implementation: `frame_N_densepose.npy`, (2, H, W) float64."""

from __future__ import annotations

import numpy as np

from common.images import Size
from densepose_prep.dump import ChartResult


def reference_uv(result: ChartResult, box: np.ndarray, size: Size) -> np.ndarray:
    """U and V (2, H, W) float64 of one person, pasted at (int(x0), int(y0)) of the frame.

    As the reference writes them: not clamped, without the part, 0 off the body.
    """
    x, y = (int(value) for value in box[:2])
    height, width = result.labels.shape
    canvas = np.zeros((2, *size))
    canvas[:, y : y + height, x : x + width] = result.uv.numpy()
    return canvas
