"""The embedding adapter: CLIP tokens and VAE latents of the reference, mixed into CLIP's tokens.

Karras et al., "DreamPose" (arXiv 2304.06025), section 4.1. State-dict keys and shapes are the
published ones (`vae2clip.*`, `linear1.*`), so its checkpoints load as they are.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class EmbeddingAdapter(ModelMixin, ConfigMixin):
    """Tokens (B, image_tokens, width) and latents (B, C, h, w) to tokens (B, image_tokens, width).

    `latent_cells` is the number of cells of a 2×2-pooled latent channel ((h/2)·(w/2)); it ties a
    checkpoint to its resolution. At the start the CLIP tokens pass unchanged.
    """

    @register_to_config
    def __init__(
        self,
        latent_cells: int = 1280,
        latent_channels: int = 4,
        image_tokens: int = 50,
        width: int = 768,
    ):
        super().__init__()
        self.vae2clip = nn.Linear(latent_cells, width)
        self.linear1 = nn.Linear(image_tokens + latent_channels, image_tokens)
        with torch.no_grad():
            self.linear1.weight.zero_()
            self.linear1.weight[:, :image_tokens].copy_(torch.eye(image_tokens))
            self.linear1.bias.zero_()

    def forward(self, image_tokens: Tensor, latents: Tensor) -> Tensor:
        latent_tokens = self.vae2clip(F.max_pool2d(latents, 2).flatten(2))
        tokens = torch.cat([image_tokens, latent_tokens], 1)
        return self.linear1(tokens.transpose(1, 2)).transpose(1, 2)
