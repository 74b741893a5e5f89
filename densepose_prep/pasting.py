"""One detected person as an IUV image of the whole frame."""

from __future__ import annotations

import numpy as np

from common.images import Size
from densepose_prep.dump import Detections


def iuv_image(image: Detections, person: int, size: Size) -> np.ndarray:
    """IUV uint8 (H, W, 3) of one person, pasted at (int(x0), int(y0)); U, V clamped to [0, 1]."""
    result = image.results[person]
    labels, uv = result.labels.numpy(), result.uv.numpy().clip(0, 1)
    pasted = np.concatenate([labels[None], np.rint(uv * 255) * (labels > 0)]).astype(np.uint8)
    x, y = (int(value) for value in image.boxes[person, :2])
    canvas = np.zeros((*size, 3), np.uint8)
    target = canvas[max(0, y) : y + labels.shape[0], max(0, x) : x + labels.shape[1]]
    inside = pasted[:, max(0, -y) :, max(0, -x) :][:, : target.shape[0], : target.shape[1]]
    target[:] = inside.transpose(1, 2, 0)
    return canvas
