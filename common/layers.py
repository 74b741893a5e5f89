"""Convolutions of the small networks of our own: pose estimation and detail.

Batch normalisation throughout: with group normalisation they learnt several times slower.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


def convolution(channels: int, out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


def enlarged(channels: int, out: int) -> nn.Sequential:
    """A 1×1 convolution and twice the sides."""
    return nn.Sequential(convolution(channels, out, size=1), nn.Upsample(scale_factor=2))


class Residual(nn.Module):
    """Two 3×3 convolutions beside the identity, which it starts as (He et al., 1512.03385)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.body[-1].weight)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(hidden + self.body(hidden))


class Levels(nn.Module):
    """The inside of a U-Net: `channels[0]` at the top, each level below at half the sides."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        self.encoders = nn.ModuleList(Residual(count) for count in channels)
        self.downs = nn.ModuleList(
            convolution(count, below, stride=2) for count, below in pairwise(channels)
        )
        self.ups = nn.ModuleList(enlarged(below, count) for count, below in pairwise(channels))
        self.decoders = nn.ModuleList(Residual(count) for count in channels[:-1])

    def through(self, hidden: Tensor) -> Tensor:
        """Down and up again: (B, channels[0], h, w) to the same shape."""
        hidden = self.encoders[0](hidden)
        skips = []
        for down, encoder in zip(self.downs, self.encoders[1:], strict=True):
            skips.append(hidden)
            hidden = encoder(down(hidden))
        for level in reversed(range(len(skips))):
            hidden = self.decoders[level](skips[level] + self.ups[level](hidden))
        return hidden
