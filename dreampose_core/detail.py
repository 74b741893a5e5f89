"""From a draft to a frame: what the warp shows to the pixel goes back where the decoder blurred it.

An autoencoder's decoder sees latents alone. This network sees its draft and, in pixels, the
reference moved as the body moves, the backdrop and the pose; it mixes the three pictures pixel by
pixel and adds a correction. Zhu et al. (arXiv 2306.04632) give their decoder the known pixels for
the same reason.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from common.layers import Levels, convolution
from common.mirror import BACKWARDS, SWAP
from common.poses import PARTS
from dreampose_core.warp import Warped

PIXELS = 11
"""Channels of what it sees beside the draft: moved 3, backdrop 3, extension, seen, part, U, V."""
_PICTURES = 3
_DRAFT_FIRST = 4.0


def pixels(warped: Warped, iuv: np.ndarray) -> Tensor:
    """What the network sees of some frames beside the draft, uint8 (T, PIXELS, H, W).

    `iuv` are the target poses uint8 (T, H, W, 3).
    """
    empty = np.broadcast_to(warped.empty, warped.moved.shape)
    marks = np.rint(255 * warped.shares[..., 1:3]).astype(np.uint8)
    planes = np.concatenate([warped.moved, empty, marks, iuv], -1)
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(0, 3, 1, 2)))


class DetailNetwork(ModelMixin, ConfigMixin):
    """Drafts (B, 3, H, W) in [−1, 1] and `pixels` (B, PIXELS, H, W) in 0..255 to frames.

    A U-Net whose levels, `channels`, begin at half the picture's resolution; `fine` channels stay
    at full resolution. Sides must be multiples of 2^len(channels). It begins near the identity.
    """

    @register_to_config
    def __init__(self, fine: int = 12, channels: tuple[int, ...] = (24, 48, 64, 96)):
        super().__init__()
        seen = 3 * _PICTURES + 2 + 2 + PARTS
        self.enter = nn.Conv2d(seen, fine, 1)
        self.top = nn.Sequential(nn.PixelUnshuffle(2), convolution(4 * fine, channels[0]))
        self.levels = Levels(tuple(channels))
        self.back = nn.ConvTranspose2d(channels[0], fine, 2, stride=2)
        self.outline = convolution(2 * fine, fine)
        self.leave = nn.Conv2d(fine, _PICTURES + 3, 1)
        nn.init.zeros_(self.leave.weight)
        with torch.no_grad():
            self.leave.bias.zero_()[0] = _DRAFT_FIRST

    def forward(self, draft: Tensor, pixels: Tensor) -> Tensor:
        pixels = pixels.to(draft.dtype)
        moved, empty = pixels[:, :3] / 127.5 - 1, pixels[:, 3:6] / 127.5 - 1
        label = pixels[:, 8].long()
        parts = F.one_hot(label, PARTS + 1)[..., 1:].permute(0, 3, 1, 2).to(draft)
        marks, surface = pixels[:, 6:8] / 255, pixels[:, 9:] / 255
        seen = torch.cat([draft, moved, empty, marks, surface, parts], 1)
        fine = self.enter(seen.contiguous(memory_format=torch.channels_last))
        hidden = self.levels.through(self.top(fine))
        leave = self.leave(self.outline(torch.cat([fine, self.back(hidden)], 1)))
        shares = leave[:, :_PICTURES].softmax(1).unsqueeze(2)
        pictures = torch.stack([draft, moved, empty], 1)
        return (shares * pictures).sum(1) + leave[:, _PICTURES:]


def both_ways(network: DetailNetwork, draft: Tensor, pixels: Tensor) -> Tensor:
    """The mean of what the network makes of frames and of their mirror images, mirrored back."""
    part, u = pixels[:, 8].long(), pixels[:, 9]
    backwards = torch.from_numpy(BACKWARDS).to(part.device)[part]
    swapped = torch.from_numpy(SWAP).to(part.device)[part].to(pixels)
    turned = torch.where(backwards, 255 - u, u)
    mirrored = torch.cat([pixels[:, :8], torch.stack([swapped, turned], 1), pixels[:, 10:]], 1)
    there = network(draft, pixels)
    back = network(draft.flip(-1), mirrored.flip(-1)).flip(-1)
    return (there + back) / 2
