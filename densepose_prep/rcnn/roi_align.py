"""ROIAlign (He et al., arXiv 1703.06870) as weighted sums of a table's rows, for all boxes at once.

The form of detectron2's "ROIAlign" (aligned=False, two samples a bin and axis): every bin is the
sum of 4 × 4 cells, so `embedding_bag` does the work without copying a box's features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_SAMPLES = 2
_FINEST = 2
"""Number of the first level; level n has stride 2ⁿ."""
_CANONICAL_SIDE, _CANONICAL_LEVEL = 224, 4


def levels_of(boxes: Tensor, count: int) -> Tensor:
    """Index (R,) into `count` levels: the larger a box (R, 4), the coarser (arXiv 1612.03144)."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(-1).sqrt()
    level = (_CANONICAL_LEVEL + torch.log2(side / _CANONICAL_SIDE + 1e-8)).floor()
    return level.clamp(_FINEST, _FINEST + count - 1).long() - _FINEST


def cells_of(start: Tensor, end: Tensor, bins: int, count: int) -> tuple[Tensor, Tensor]:
    """Cells (R, bins, 4) that make up each bin along one axis, and their weights.

    start, end (R,) are a box's edges and `count` the axis' length, in cells. A sample further than
    one cell outside counts as 0.
    """
    size = ((end - start).clamp(min=1) / bins)[:, None, None]
    bin_ = torch.arange(bins, device=start.device)[:, None]
    sample = torch.arange(_SAMPLES, device=start.device) + 0.5
    position = start[:, None, None] + bin_ * size + sample * size / _SAMPLES
    inside = (position >= -1) & (position <= count)
    position = position.clamp(0, count - 1)
    low = position.long()
    high = (low + 1).clamp(max=count - 1)
    part = position - low
    weights = torch.stack([1 - part, part], -1) * (inside / _SAMPLES)[..., None]
    return torch.stack([low, high], -1).flatten(2), weights.flatten(2)


def pooled(features: Tensor, boxes: Tensor, images: Tensor, bins: int) -> Tensor:
    """Means (R, bins, bins, C) of a map (B, C, h, w) over the bins of boxes (R, 4) in its cells."""
    height, width = features.shape[2:]
    x0, y0, x1, y1 = boxes.unbind(1)
    rows, row_weights = cells_of(y0, y1, bins, height)
    columns, column_weights = cells_of(x0, x1, bins, width)
    rows = (images[:, None, None] * height + rows) * width
    cells = rows[:, :, None, :, None] + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    summed = F.embedding_bag(
        cells.flatten(3).flatten(0, 2),
        features.permute(0, 2, 3, 1).flatten(0, 2),
        per_sample_weights=weights.flatten(3).flatten(0, 2).to(features.dtype),
        mode="sum",
    )
    return summed.view(len(boxes), bins, bins, features.shape[1])


def roi_align(levels: Sequence[Tensor], boxes: Tensor, images: Tensor, bins: int) -> Tensor:
    """Features (R, bins, bins, C) of boxes (R, 4) in pixels of the pictures `images` (R,).

    levels[k] (B, C, h, w) has stride 4 · 2ᵏ.
    """
    out = levels[0].new_empty(len(boxes), bins, bins, levels[0].shape[1])
    level = levels_of(boxes, len(levels))
    for index, features in enumerate(levels):
        (own,) = (level == index).nonzero(as_tuple=True)
        scaled = boxes[own] / 2 ** (index + _FINEST)
        out[own] = pooled(features, scaled, images[own], bins)
    return out
