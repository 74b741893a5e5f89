"""A person's surface in the pixels of the frame, as DensePose's converter makes it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from densepose_prep.dump import ChartResult
from densepose_prep.rcnn.heads import Surface


def chart_result(surface: Surface, box: Tensor) -> ChartResult:
    """Labels and U, V of one person's maps (channels, 112, 112) for its box (4,).

    The maps are enlarged to the box's truncated size, and the part is chosen afterwards.
    """
    width, height = (max(int(length), 1) for length in box[2:] - box[:2])
    coarse, fine, u, v = (
        F.interpolate(values[None].float(), (height, width), mode="bilinear")[0]
        for values in surface
    )
    labels = fine.argmax(0) * (coarse[1] > coarse[0])
    chosen = u.new_empty(2, height, width)
    for channel, values in zip(chosen, (u, v), strict=True):
        channel[:] = values.gather(0, labels[None])[0] * (labels > 0)
    return ChartResult(labels.cpu(), chosen.cpu())
