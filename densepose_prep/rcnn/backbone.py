"""ResNet-50 and its feature pyramid; normalisation is folded into the convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 256
"""Of every level of the pyramid."""
_STAGES = {2: (3, 64, 256), 3: (4, 128, 512), 4: (6, 256, 1024), 5: (3, 512, 2048)}
"""Blocks, inner and outer channels of res2 … res5; res`n` has stride 2ⁿ."""


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with a shortcut; the stride lies in the first 1×1."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int):
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else None
        self.conv1 = nn.Conv2d(inputs, inner, 1, stride)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv3 = nn.Conv2d(inner, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(self.conv1(x).relu_()).relu_()
        return self.conv3(inner).add_(self.shortcut(x) if self.shortcut else x).relu_()


class Stem(nn.Module):
    """7×7 of stride 2, then the largest of 3×3 at stride 2."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)

    def forward(self, pictures: Tensor) -> Tensor:
        return F.max_pool2d(self.conv1(pictures).relu_(), 3, 2, 1)


class ResNet(nn.Module):
    """ResNet-50 without its classifier."""

    def __init__(self):
        super().__init__()
        self.stem = Stem()
        inputs = 64
        for stage, (blocks, inner, outputs) in _STAGES.items():
            first = Bottleneck(inputs, inner, outputs, 1 if stage == 2 else 2)
            rest = [Bottleneck(outputs, inner, outputs, 1) for _ in range(blocks - 1)]
            setattr(self, f"res{stage}", nn.Sequential(first, *rest))
            inputs = outputs

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        """res2 … res5 by number, of strides 4 to 32."""
        x = self.stem(pictures)
        stages = {}
        for stage in _STAGES:
            stages[stage] = x = getattr(self, f"res{stage}")(x)
        return stages


def add_enlarged(fine: Tensor, coarse: Tensor) -> None:
    """Add every cell of `coarse` (B, C, h, w) to the 2 × 2 cells of `fine` that it covers."""
    height, width = coarse.shape[2:]
    cells = fine.unflatten(3, (width, 2)).unflatten(2, (height, 2))
    cells += coarse[:, :, :, None, :, None]


class FeaturePyramid(nn.Module):
    """p2 … p6 (B, 256, h, w), strides 4 to 64 (Lin et al., arXiv 1612.03144)."""

    def __init__(self):
        super().__init__()
        self.bottom_up = ResNet()
        for stage, (_, _, outputs) in _STAGES.items():
            setattr(self, f"fpn_lateral{stage}", nn.Conv2d(outputs, CHANNELS, 1))
            setattr(self, f"fpn_output{stage}", nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        stages = self.bottom_up(pictures)
        levels: list[Tensor] = []
        above = None
        for stage in reversed(_STAGES):
            merged = getattr(self, f"fpn_lateral{stage}")(stages[stage])
            if above is not None:
                add_enlarged(merged, above)
            levels.insert(0, getattr(self, f"fpn_output{stage}")(merged))
            above = merged
        return [*levels, levels[-1][:, :, ::2, ::2]]
