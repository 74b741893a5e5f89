"""The whole network: pictures to persons with their surfaces."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.images import Size
from densepose_prep.rcnn.backbone import FeaturePyramid
from densepose_prep.rcnn.heads import RoiHeads, Surface, persons
from densepose_prep.rcnn.proposals import ProposalGenerator


class Found(NamedTuple):
    """N persons of a batch: boxes (N, 4) in pixels of its pictures, which picture, score (N,)."""

    boxes: Tensor
    images: Tensor
    scores: Tensor
    surface: Surface | None
    """None where N is 0"""


class DensePoseRcnn(nn.Module):
    """densepose_rcnn_R_50_FPN_s1x, for inference; weights come from `weights.load`."""

    def __init__(self):
        super().__init__()
        self.backbone = FeaturePyramid()
        self.proposal_generator = ProposalGenerator()
        self.roi_heads = RoiHeads()

    @torch.inference_mode()
    def forward(self, pictures: Tensor, size: Size, most: int = 100) -> Found:
        """At most `most` persons a picture, picture by picture, best first.

        pictures (B, 3, H, W) as `picture.prepared` makes them; `size` is theirs without padding.
        """
        pyramid = self.backbone(pictures)
        proposals, objectness = self.proposal_generator(pyramid, size)
        valid = objectness > -torch.inf
        images, _ = valid.nonzero(as_tuple=True)
        logits, deltas = (
            _spread(values, valid)
            for values in self.roi_heads.scored(pyramid, proposals[valid], images)
        )
        boxes, scores = persons(proposals, logits, deltas, valid, size, most)
        found = scores > 0
        images, _ = found.nonzero(as_tuple=True)
        boxes, scores = boxes[found], scores[found]
        surface = None
        if len(boxes):
            surface = self.roi_heads.surfaces(self.roi_heads.decoder(pyramid), boxes, images)
        return Found(boxes, images, scores, surface)


def _spread(rows: Tensor, valid: Tensor) -> Tensor:
    """Rows (R, C) of the R true places of `valid` (B, N) in their places: (B, N, C)."""
    places = rows.new_zeros(*valid.shape, rows.shape[1])
    places[valid] = rows
    return places
