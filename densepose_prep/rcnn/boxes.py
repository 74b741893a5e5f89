"""Boxes (…, 4) as x0, y0, x1, y1 in pixels: decoding, clipping, suppression of overlaps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from common.images import Size

_LARGEST_STEP = math.log(1000 / 16)


def decoded(boxes: Tensor, deltas: Tensor, weights: tuple[float, float]) -> Tensor:
    """Boxes moved by deltas (…, 4) dx, dy, dw, dh; `weights` divide positions and sizes."""
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    centre = deltas[..., :2] / weights[0] * size + centre
    size = (deltas[..., 2:] / weights[1]).clamp(max=_LARGEST_STEP).exp() * size
    return torch.cat([centre - 0.5 * size, centre + 0.5 * size], -1)


def clipped(boxes: Tensor, size: Size) -> Tensor:
    """Boxes cut at a picture's edges."""
    limits = boxes.new_tensor([size[1], size[0]] * 2)
    return torch.minimum(boxes.clamp(min=0), limits)


def filled(boxes: Tensor) -> Tensor:
    """Which boxes have an area (…)."""
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)


def overlap(boxes: Tensor) -> Tensor:
    """Intersection over union (…, N, N) of every two of N boxes."""
    low, high = boxes.movedim(-1, 0).contiguous().split(2)
    area = (high - low).prod(0)
    start = torch.maximum(low[..., :, None], low[..., None, :])
    end = torch.minimum(high[..., :, None], high[..., None, :])
    common = end.sub_(start).clamp_(min=0).prod(0)
    return common / (area[..., :, None] + area[..., None, :]).sub_(common)


def unsuppressed(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Which of the boxes (…, N, 4), best first, greedy suppression keeps: bool (…, N).

    A valid box stays unless a kept one before it overlaps it by more than `threshold`. The rule is
    applied to all boxes at once until nothing changes: round k settles the k-th at the latest.
    """
    suppresses = (overlap(boxes) > threshold).triu(1).float()
    kept = valid
    while True:
        beaten = (kept.float().unsqueeze(-2) @ suppresses).squeeze(-2) > 0
        now = valid & ~beaten
        if torch.equal(now, kept):
            return kept
        kept = now
