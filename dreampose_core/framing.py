"""How a person's picture is brought to the model's size, and the result back into the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.images import Fit, Size

_WHOLE = 0.6
"""A crop that covers more of the picture than this is not worth cutting."""

Crop = tuple[int, int, int, int]


def union(*crops: Crop | None) -> Crop | None:
    """The smallest crop that holds all of them; None where one is missing."""
    if any(crop is None for crop in crops):
        return None
    x0, y0, x1, y1 = zip(*crops, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def model_fit(source: Size, size: Size, crop: Crop | None) -> Fit:
    """The `Fit` of a `source`-sized picture into the model's `size` around a person's crop.

    The crop grows to the model's aspect ratio as far as the picture reaches; a picture that the
    person fills anyway is taken whole.
    """
    whole = Fit.whole(source, size)
    if crop is None:
        return whole
    x0, x1 = _grown(crop[0], crop[2], (crop[3] - crop[1]) * size[1] / size[0], source[1])
    y0, y1 = _grown(crop[1], crop[3], (x1 - x0) * size[0] / size[1], source[0])
    if (x1 - x0) * (y1 - y0) > _WHOLE * source[0] * source[1]:
        return whole
    return Fit(source, size, (x0, y0, x1, y1))


def _grown(low: int, high: int, wanted: float, limit: int) -> tuple[int, int]:
    """Widen [low, high] evenly to `wanted`, staying inside [0, limit]."""
    length = min(limit, max(high - low, round(wanted)))
    start = min(max(0, (low + high - length) // 2), limit - length)
    return start, start + length


@dataclass(frozen=True)
class Canvas:
    """The subject's picture, into whose crop results are put back."""

    picture: np.ndarray
    fit: Fit

    def put(self, fitted: np.ndarray) -> np.ndarray:
        """A frame of the model's size to a whole picture of the subject's framing."""
        x0, y0, x1, y1 = self.fit.crop
        result = self.picture.copy()
        result[y0:y1, x0:x1] = self.fit.undo(fitted)
        return result
