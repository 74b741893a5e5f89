"""The small IUV network: a fully convolutional U-Net from a picture to parts and their U, V.

It works on half the picture's resolution inside; the parts come out at full resolution, so that
limbs a few pixels wide keep their outline. Weights are a diffusers folder: `config.json` and
safetensors.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from common.images import Size
from common.poses import PARTS

LABELS = PARTS + 1
OUTPUTS = LABELS + 2 * PARTS
_GROUP = 8


def split_outputs(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, OUTPUTS, H, W) to logits (B, 25, H, W) and U, V of every part (B, 24, H, W) each."""
    return outputs.split([LABELS, PARTS, PARTS], 1)


def of_label(values: Tensor, labels: Tensor) -> Tensor:
    """The part's own channel of (B, 24, H, W) at labels (B, H, W) in 0..24; 0 on background."""
    chosen = values.gather(1, (labels - 1).clamp_min(0)[:, None])[:, 0]
    return chosen * (labels > 0)


class IuvNetwork(ModelMixin, ConfigMixin):
    """RGB (B, 3, H, W) in [−1, 1] to (B, 25 + 24 + 24, H, W): part logits, U and V of each part.

    Trained at `height` × `width`; sides must be multiples of `stride`. `chart` names the surface
    chart of U and V.
    """

    @register_to_config
    def __init__(
        self,
        height: int = 160,
        width: int = 128,
        channels: tuple[int, ...] = (32, 48, 80, 112),
        chart: str = "mannequin",
    ):
        super().__init__()
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, channels[0], 3, padding=1))
        self.encoders = nn.ModuleList(_Residual(count) for count in channels)
        self.downs = nn.ModuleList(
            nn.Conv2d(count, below, 3, stride=2, padding=1) for count, below in pairwise(channels)
        )
        self.bottom = _Residual(channels[-1])
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(below, count, 1), nn.Upsample(scale_factor=2))
            for count, below in pairwise(channels)
        )
        self.decoders = nn.ModuleList(_Residual(count) for count in channels[:-1])
        self.leave = nn.Sequential(nn.GroupNorm(channels[0] // _GROUP, channels[0]), nn.SiLU())
        self.parts = nn.ConvTranspose2d(channels[0], LABELS, 2, stride=2)
        self.surface = nn.Conv2d(channels[0], 2 * PARTS, 1)

    @property
    def size(self) -> Size:
        """Height and width the weights were trained at."""
        return self.config.height, self.config.width

    @property
    def stride(self) -> int:
        """What the sides of a picture must be multiples of."""
        return 2 ** len(self.config.channels)

    def heads(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Part logits (B, 25, H, W), and U, V of each part (B, 48, H/2, W/2), which are smooth."""
        hidden = self.enter(picture)
        skips = []
        for encoder, down in zip(self.encoders, [*self.downs, self.bottom], strict=True):
            hidden = encoder(hidden)
            skips.append(hidden)
            hidden = down(hidden)
        for level in reversed(range(len(self.ups))):
            hidden = self.decoders[level](skips[level] + self.ups[level](hidden))
        hidden = self.leave(hidden)
        return self.parts(hidden), self.surface(hidden)

    def forward(self, picture: Tensor) -> Tensor:
        logits, surface = self.heads(picture)
        return torch.cat([logits, F.interpolate(surface, scale_factor=2, mode="bilinear")], 1)


class _Residual(nn.Module):
    """Two normalised 3×3 convolutions beside the identity, which it starts as."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(channels // _GROUP, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(channels // _GROUP, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.body(hidden)


def to_picture(frame: Tensor) -> Tensor:
    """uint8 RGB (…, 3, H, W) to float [−1, 1]."""
    return frame.to(torch.float32) / 127.5 - 1
