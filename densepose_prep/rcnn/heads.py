"""What is said of a proposal: person or not, its better box, and its surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from common.images import Size
from common.poses import PARTS
from densepose_prep.rcnn.backbone import CHANNELS
from densepose_prep.rcnn.boxes import clipped, decoded, unsuppressed
from densepose_prep.rcnn.roi_align import roi_align

BOX_BINS, SURFACE_BINS = 7, 28
_WEIGHTS = (10.0, 5.0)
_SCORE, _OVERLAP = 0.05, 0.5
_WIDTH = 512


class Surface(NamedTuple):
    """Of N persons (N, channels, 112, 112): body or not, the part, U and V of every part."""

    coarse: Tensor
    fine: Tensor
    u: Tensor
    v: Tensor


class BoxHead(nn.Module):
    """Two layers over the bins of a proposal, bin by bin: (R, 7, 7, 256) to (R, 1024)."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(BOX_BINS**2 * CHANNELS, 1024)
        self.fc2 = nn.Linear(1024, 1024)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.fc2(self.fc1(pooled.flatten(1)).relu_()).relu_()


class BoxPredictor(nn.Module):
    """Logits (R, 2) of person and background, deltas (R, 4)."""

    def __init__(self):
        super().__init__()
        self.cls_score = nn.Linear(1024, 2)
        self.bbox_pred = nn.Linear(1024, 4)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(hidden), self.bbox_pred(hidden)


class Decoder(nn.Module):
    """p2 … p5 to one map (B, 256, h, w) of stride 4 (Panoptic FPN, arXiv 1901.02446).

    A level is enlarged to stride 4 in steps of two, a convolution before each; the last step of
    all levels is the same, so it is done once, on their sum.
    """

    def __init__(self):
        super().__init__()
        self.p2, self.p3, self.p4, self.p5 = (_convolutions(count) for count in (1, 1, 2, 3))
        self.predictor = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        p2, p3, p4, p5 = pyramid[:4]
        coarse = self.p3(p3).add_(self.p4(p4)).add_(self.p5(p5))
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear")
        return self.predictor(self.p2(p2).add_(enlarged))


def _convolutions(count: int) -> nn.Sequential:
    """Convolutions with an enlargement between each two."""
    between = nn.Sequential(nn.ReLU(inplace=True), nn.Upsample(scale_factor=2, mode="bilinear"))
    layers = [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(count)]
    mixed = [layer for convolution in layers for layer in (convolution, between)]
    return nn.Sequential(*mixed[:-1], nn.ReLU(inplace=True))


class SurfaceHead(nn.Module):
    """Eight convolutions over a person's bins: (N, 256, 28, 28) to (N, 512, 28, 28)."""

    def __init__(self):
        super().__init__()
        for index in range(8):
            convolution = nn.Conv2d(CHANNELS if index == 0 else _WIDTH, _WIDTH, 3, padding=1)
            setattr(self, f"body_conv_fcn{index + 1}", convolution)

    def forward(self, pooled: Tensor) -> Tensor:
        for convolution in self.children():
            pooled = convolution(pooled).relu_()
        return pooled


class SurfacePredictor(nn.Module):
    """The four maps of a surface, enlarged twice: (N, 512, 28, 28) to (N, channels, 112, 112)."""

    def __init__(self):
        super().__init__()
        self.ann_index_lowres = nn.ConvTranspose2d(_WIDTH, 2, 4, 2, 1)
        self.index_uv_lowres = nn.ConvTranspose2d(_WIDTH, PARTS + 1, 4, 2, 1)
        self.u_lowres = nn.ConvTranspose2d(_WIDTH, PARTS + 1, 4, 2, 1)
        self.v_lowres = nn.ConvTranspose2d(_WIDTH, PARTS + 1, 4, 2, 1)

    def forward(self, hidden: Tensor) -> Surface:
        return Surface(
            *(
                F.interpolate(layer(hidden), scale_factor=2, mode="bilinear")
                for layer in (
                    *(self.ann_index_lowres, self.index_uv_lowres),
                    *(self.u_lowres, self.v_lowres),
                )
            )
        )


class RoiHeads(nn.Module):
    """From proposals to persons, and from persons to their surfaces."""

    def __init__(self):
        super().__init__()
        self.box_head = BoxHead()
        self.box_predictor = BoxPredictor()
        self.decoder = Decoder()
        self.densepose_head = SurfaceHead()
        self.densepose_predictor = SurfacePredictor()

    def scored(
        self, pyramid: Sequence[Tensor], boxes: Tensor, images: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (R, 2) and deltas (R, 4) of boxes (R, 4) in the pictures `images` (R,)."""
        pooled = roi_align(pyramid[:4], boxes, images, BOX_BINS)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits.float(), deltas.float()

    def surfaces(self, decoded: Tensor, boxes: Tensor, images: Tensor) -> Surface:
        """The surfaces of boxes (N, 4), from the decoder's map."""
        pooled = roi_align([decoded], boxes, images, SURFACE_BINS).permute(0, 3, 1, 2)
        return self.densepose_predictor(self.densepose_head(pooled))


def persons(
    proposals: Tensor, logits: Tensor, deltas: Tensor, valid: Tensor, size: Size, most: int
) -> tuple[Tensor, Tensor]:
    """Boxes (B, M, 4) and scores (B, M) of at most `most` persons a picture, best first.

    proposals and deltas (B, N, 4), logits (B, N, 2), `valid` (B, N); an absent person scores 0.
    """
    boxes = clipped(decoded(proposals, deltas, _WEIGHTS), size)
    scores = logits.softmax(-1)[..., 0]
    valid = valid & (scores > _SCORE)
    order = scores.masked_fill(~valid, 0).argsort(stable=True, dim=-1, descending=True)
    boxes, scores, valid = (
        boxes.take_along_dim(order[..., None], 1),
        *(values.gather(1, order) for values in (scores, valid)),
    )
    kept = unsuppressed(boxes, valid, _OVERLAP)
    scores, best = scores.masked_fill(~kept, 0).topk(min(most, scores.shape[1]))
    return boxes.take_along_dim(best[..., None], 1), scores
