"""Left and right exchanged: what a mirrored picture of a person shows, in the chart `mannequin`."""

from __future__ import annotations

import numpy as np

from common.poses import PARTS

_HEAD = 23


def _swapped() -> np.ndarray:
    swap = np.arange(PARTS + 1)
    for first in (3, 5, *range(7, PARTS, 2)):
        swap[first], swap[first + 1] = first + 1, first
    return swap


SWAP = _swapped()
"""Each part's counterpart (25,)."""
BACKWARDS = (np.arange(PARTS + 1) > 0) & (np.arange(PARTS + 1) < _HEAD)
"""Whether its U runs backwards (25,): left and right run against each other but for the head's."""


def flipped(frame: np.ndarray, iuv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mirrored picture and its IUV, both uint8 (H, W, 3)."""
    part, u, v = np.moveaxis(iuv[:, ::-1], -1, 0)
    new_u = np.where(BACKWARDS[part], 255 - u, u)
    mirrored = np.stack([SWAP[part].astype(np.uint8), new_u, v], -1)
    return np.ascontiguousarray(frame[:, ::-1]), mirrored
