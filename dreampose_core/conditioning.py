"""What the UNet is told beside the image tokens, and the conventions of a model folder.

The paper's conditioning is the UV window alone. The named options are departures that help a
small model trained from nothing (weights/mini/README.md):

* `parts`: part shares and mean UV of each quarter of a latent cell;
* `warp`: latents of the reference warped along the surface, and how far to trust them;
* `prior`: the closed-form prediction that follows from the warp (see `prior_prediction`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from dreampose_core.posemaps import PART_MAP_CHANNELS, on_grid, part_maps, uv_maps, windows
from dreampose_core.warp import CLASSES

CLASS_MAP_CHANNELS = 4 * len(CLASSES)
_MIN_VARIANCE = 2e-3


@dataclass(frozen=True)
class Condition:
    """Conditions, B rows, all but `pixels` on the latent grid (h, w); None: not of this model."""

    uv: Tensor
    """(B, 2·window, h, w) in [0, 1]"""
    parts: Tensor | None = None
    """(B, 108, h, w)"""
    warped: Tensor | None = None
    """(B, C, h, w) latents of the warped reference"""
    classes: Tensor | None = None
    """(B, 16, h, w) shares of the warp's four classes in 2×2 sub-cells"""
    pixels: Tensor | None = None
    """(B, 11, H, W) in 0..255: what the detail network sees (`detail.pixels`)"""

    def map(self, change) -> Condition:
        """Apply `change` to every tensor."""
        return Condition(*(None if v is None else change(v) for v in vars(self).values()))


class Conditioning(ModelMixin, ConfigMixin):
    """Builds the UNet's extra input channels and holds what ties a model to its data.

    `pose_range` is "unit" for UV in [0, 1] and "symmetric" for imported checkpoints that were
    sampled with UV in [−1, 1].
    """

    @register_to_config
    def __init__(
        self,
        height: int = 640,
        width: int = 512,
        latent_channels: int = 4,
        latent_factor: int = 8,
        chart: str = "densepose",
        pose_window: int = 5,
        pose_range: str = "unit",
        parts: bool = False,
        warp: bool = False,
        prior: bool = False,
    ):
        super().__init__()
        self.variance = nn.Parameter(torch.ones(len(CLASSES), latent_channels), requires_grad=False)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the latents."""
        c = self.config
        return c.height // c.latent_factor, c.width // c.latent_factor

    @property
    def extra_channels(self) -> int:
        """How many input channels the UNet has beside the latents."""
        c = self.config
        warped = c.latent_channels + CLASS_MAP_CHANNELS
        return 2 * c.pose_window + PART_MAP_CHANNELS * c.parts + warped * c.warp

    def uv(self, iuv: np.ndarray) -> Tensor:
        """Each frame's own UV maps (T, 2, h, w) in the model's range, of uint8 (T, H, W, 3)."""
        maps = on_grid(uv_maps(iuv), self.grid)
        return 2 * maps - 1 if self.config.pose_range == "symmetric" else maps

    def pose(self, iuv: np.ndarray) -> Condition:
        """The pose conditions of a clip's IUV images uint8 (T, H, W, 3) at the model's size."""
        uv = windows(self.uv(iuv), self.config.pose_window)
        return Condition(uv, part_maps(iuv, self.grid) if self.config.parts else None)

    def class_maps(self, shares: np.ndarray) -> Tensor:
        """Class shares (T, H, W, 4) to (T, 16, h, w)."""
        fine = (2 * self.grid[0], 2 * self.grid[1])
        maps = torch.from_numpy(np.ascontiguousarray(shares)).permute(0, 3, 1, 2).float()
        return F.pixel_unshuffle(on_grid(maps, fine), 2)

    def channels(self, condition: Condition, image: Tensor, pose: Tensor) -> Tensor:
        """Extra input channels (B, extra, h, w); `image`, `pose` (B,) are 1 to keep, 0 to drop."""
        keep_pose, keep_both = pose.view(-1, 1, 1, 1), (image * pose).view(-1, 1, 1, 1)
        kept = [condition.uv * keep_pose]
        if self.config.parts:
            kept.append(condition.parts * keep_pose)
        if self.config.warp:
            kept += [condition.warped * keep_both, condition.classes * keep_both]
        return torch.cat(kept, 1)

    def prior_variance(self, condition: Condition) -> Tensor:
        """Error variance of the warped latents, (B, C, h, w), from the shares of the classes."""
        shares = condition.classes.unflatten(1, (len(CLASSES), 4)).mean(2)
        variance = self.variance.to(shares.device)  # training moves only what it trains
        parts = shares[:, :, None] * variance[None, :, :, None, None]
        return parts.sum(1).clamp_min(_MIN_VARIANCE)

    def complete(
        self,
        output: Tensor,
        noisy: Tensor,
        condition: Condition,
        alpha: Tensor,
        sigma: Tensor,
        image: Tensor,
        pose: Tensor,
    ) -> Tensor:
        """The v-prediction from the UNet's output: unchanged without `prior`.

        `alpha`, `sigma` are (B, 1, 1, 1) with alpha² + sigma² = 1. Where a condition is dropped
        the prior is a standard normal one.
        """
        if not self.config.prior:
            return output
        keep = (image * pose).view(-1, 1, 1, 1)
        variance = self.prior_variance(condition) * keep + (1 - keep)
        mean, deviation = prior_prediction(noisy, condition.warped * keep, variance, alpha, sigma)
        return mean + deviation * output


def prior_prediction(
    noisy: Tensor, centre: Tensor, variance: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of v given `noisy` if the clean latents were N(centre, variance).

    With x = αz + σε and v = αε − σz: E[v|x] = σ·[α(1−s²)x − z_w]/(α²s²+σ²) and
    sd[v|x] = s/√(α²s²+σ²). The network then predicts a residual of unit variance, as the
    preconditioning of Karras et al. (arXiv 2206.00364) does for a prior without a centre.
    """
    spread = alpha**2 * variance + sigma**2
    mean = sigma * (alpha * (1 - variance) * noisy - centre) / spread
    return mean, (variance / spread).sqrt()


def repeat(condition: Condition, times: int) -> Condition:
    """The same conditions `times` times behind one another."""
    return condition.map(lambda v: v.repeat(times, 1, 1, 1))


def rows(condition: Condition, index) -> Condition:
    """Some rows of a condition."""
    return condition.map(lambda v: v[index])
