"""Region proposals: where in the pyramid something may be (Ren et al., arXiv 1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.images import Size
from densepose_prep.rcnn.backbone import CHANNELS
from densepose_prep.rcnn.boxes import clipped, decoded, filled, unsuppressed

_SIZES = (32, 64, 128, 256, 512)
"""Side of the square anchor of p2 … p6, in pixels; level k has stride 4 · 2ᵏ."""
_RATIOS = (0.5, 1.0, 2.0)
_WEIGHTS = (1.0, 1.0)
_A_LEVEL = _ALTOGETHER = 1000
_OVERLAP = 0.7


def anchors(size: Size, level: int, device: torch.device) -> Tensor:
    """Anchor boxes (h·w·3, 4) of a level of h × w cells in the order y, x, ratio.

    Centred at the cells' upper left corners.
    """
    ratios = torch.tensor(_RATIOS, device=device, dtype=torch.float64)
    width = _SIZES[level] / ratios.sqrt()
    corner = torch.stack([width, ratios * width], -1).float() / 2
    y, x = (torch.arange(n, device=device) * 4.0 * 2**level for n in size)
    centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]
    return torch.cat([centre - corner, centre + corner], -1).reshape(-1, 4)


class RpnHead(nn.Module):
    """Logits (B, 3, h, w) and deltas (B, 12, h, w) of a level's anchors."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.objectness_logits = nn.Conv2d(CHANNELS, len(_RATIOS), 1)
        self.anchor_deltas = nn.Conv2d(CHANNELS, 4 * len(_RATIOS), 1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.conv(level).relu_()
        return self.objectness_logits(hidden), self.anchor_deltas(hidden)


class ProposalGenerator(nn.Module):
    """The best boxes of a batch, at most 1000 a picture."""

    def __init__(self):
        super().__init__()
        self.rpn_head = RpnHead()

    def forward(self, pyramid: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Boxes (B, N, 4) clipped to the unpadded `size`, and logits (B, N), best first.

        Where a picture has fewer than N, its last logits are −∞.
        """
        found = [
            level_proposals(*self.rpn_head(features), level, size)
            for level, features in enumerate(pyramid)
        ]
        boxes, logits = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        logits, best = logits.topk(min(_ALTOGETHER, logits.shape[1]))
        return picked(boxes, best), logits


def level_proposals(
    logits: Tensor, deltas: Tensor, level: int, size: Size
) -> tuple[Tensor, Tensor]:
    """Boxes (B, N, 4) and logits (B, N) of one level, best first; −∞ where suppressed."""
    cells = logits.shape[2:]
    logits = logits.permute(0, 2, 3, 1).flatten(1).float()
    deltas = deltas.permute(0, 2, 3, 1).reshape(*logits.shape, 4)
    logits, best = logits.topk(min(_A_LEVEL, logits.shape[1]))
    starts = anchors(cells, level, logits.device)[best]
    boxes = clipped(decoded(starts, picked(deltas, best).float(), _WEIGHTS), size)
    kept = unsuppressed(boxes, filled(boxes), _OVERLAP)
    return boxes, logits.masked_fill(~kept, -torch.inf)


def picked(rows: Tensor, which: Tensor) -> Tensor:
    """Rows (B, N, C) at the places `which` (B, M): (B, M, C)."""
    return rows.gather(1, which[..., None].expand(-1, -1, rows.shape[-1]))
