"""The person's place in a clip: one crop for all of its frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.images import Size
from common.poses import Box

_MARGIN = 0.08
"""Room around the person, as a share of the boxes' height."""


def clip_crop(boxes: Sequence[Box], size: Size) -> tuple[int, int, int, int]:
    """One person crop for the whole clip: the union of the boxes, padded, inside the frame."""
    x0, y0 = np.min([box[:2] for box in boxes], 0)
    x1, y1 = np.max([box[2:] for box in boxes], 0)
    pad = _MARGIN * (y1 - y0)
    return (
        max(0, int(x0 - pad)),
        max(0, int(y0 - pad)),
        min(size[1], int(np.ceil(x1 + pad))),
        min(size[0], int(np.ceil(y1 + pad))),
    )
