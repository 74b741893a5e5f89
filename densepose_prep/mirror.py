"""Left and right exchanged: what a mirrored picture of a person shows, in the chart `mannequin`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from common.poses import PARTS

_HEAD = 23


def mirror_tables() -> tuple[np.ndarray, np.ndarray]:
    """For a mirrored picture: each part's counterpart (25,), and whether its U runs backwards.

    In the chart `mannequin` left and right run against each other in U but for the head.
    """
    swap = np.arange(PARTS + 1)
    for first in (3, 5, *range(7, PARTS, 2)):
        swap[first], swap[first + 1] = first + 1, first
    backwards = np.arange(PARTS + 1) < _HEAD
    return swap.astype(np.uint8), backwards


def flipped(frame: np.ndarray, iuv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mirrored picture and its IUV, both uint8 (H, W, 3)."""
    swap, backwards = mirror_tables()
    part, u, v = np.moveaxis(iuv[:, ::-1], -1, 0)
    new_u = np.where(backwards[part] & (part > 0), 255 - u, u)
    return np.ascontiguousarray(frame[:, ::-1]), np.stack([swap[part], new_u, v], -1)


def unflipped(outputs: Tensor) -> Tensor:
    """The IUV network's outputs (B, 73, H, W) on a mirrored picture, for the picture itself."""
    swap, backwards = mirror_tables()
    parts = swap[1:].astype(np.int64) - 1
    order = np.concatenate([swap, PARTS + 1 + parts, 2 * PARTS + 1 + parts])
    made = outputs[:, torch.from_numpy(order).to(outputs.device)].flip(-1)
    turned = PARTS + 1 + torch.from_numpy(np.flatnonzero(backwards[1:])).to(outputs.device)
    made[:, turned] = 1 - made[:, turned]
    return made


@torch.no_grad()
def both_ways(network: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    """The mean of what the network says of a picture (B, 3, H, W) and of its mirror image.

    Contiguous, float32.
    """
    straight, turned = network(torch.cat([picture, picture.flip(-1)])).float().chunk(2)
    return (straight.contiguous() + unflipped(turned.contiguous())).mul_(0.5)
