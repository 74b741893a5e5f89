"""What the IUV network says of a mirrored picture, and of a picture both ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from common.mirror import BACKWARDS, SWAP
from common.poses import PARTS


def unflipped(outputs: Tensor) -> Tensor:
    """The IUV network's outputs (B, 73, H, W) on a mirrored picture, for the picture itself."""
    parts = SWAP[1:] - 1
    order = np.concatenate([SWAP, PARTS + 1 + parts, 2 * PARTS + 1 + parts])
    made = outputs[:, torch.from_numpy(order).to(outputs.device)].flip(-1)
    turned = PARTS + 1 + torch.from_numpy(np.flatnonzero(BACKWARDS[1:])).to(outputs.device)
    made[:, turned] = 1 - made[:, turned]
    return made


@torch.no_grad()
def both_ways(network: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    """The mean of what the network says of a picture (B, 3, H, W) and of its mirror image.

    Contiguous, float32.
    """
    straight, turned = network(torch.cat([picture, picture.flip(-1)])).float().chunk(2)
    return (straight.contiguous() + unflipped(turned.contiguous())).mul_(0.5)
