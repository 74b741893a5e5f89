"""A frame as the network wants it: BGR, 0–255, resized by Pillow, less the mean, padded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from common.images import Size

SHORT_SIDE, LONG_SIDE = 800, 1333
_MEAN_BGR = (103.53, 116.28, 123.675)
_MULTIPLE = 32


def network_size(size: Size, short_side: int = SHORT_SIDE, long_side: int = LONG_SIDE) -> Size:
    """The shorter side becomes `short_side`, unless the longer one would pass `long_side`.

    In two steps, as detectron2 does it: in one, some halves round the other way.
    """
    scale = short_side / min(size)
    height, width = (short_side if side == min(size) else side * scale for side in size)
    shrink = min(1.0, long_side / max(height, width))
    return int(height * shrink + 0.5), int(width * shrink + 0.5)


def resized(frame: np.ndarray, size: Size) -> np.ndarray:
    """RGB uint8 (H, W, 3) to `size` with Pillow's bilinear filter, which widens to shrink."""
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR))


def prepared(frames: Sequence[np.ndarray], like: Tensor) -> Tensor:
    """RGB uint8 (H, W, 3) pictures of one size as a batch of the device and type of `like`.

    Returns BGR (B, 3, H', W') less the mean; H' and W' are multiples of 32, and what the padding
    at the right and below adds is 0, not black.
    """
    pixels = torch.from_numpy(np.stack(frames)).to(like.device).flip(-1)
    pictures = (pixels - pixels.new_tensor(_MEAN_BGR, dtype=torch.float32)).permute(0, 3, 1, 2)
    height, width = pictures.shape[2:]
    padded = F.pad(pictures, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE))
    return padded.to(like.dtype, memory_format=torch.channels_last)
