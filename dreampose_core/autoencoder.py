"""A small autoencoder's head start: diffusers' `AutoencoderDC` set to patch PCA.

Everything between its first and last layer is pixel (un)shuffle plus residual branches, so with
the branches at zero and no shortcut averaging the network is linear, and the best linear
autoencoder of f×f patches has a closed form. From there training starts at 27 dB instead of 10.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, ResBlock
from torch import Tensor, nn

_ANCHOR = 12.0
"""A constant channel beside the 12 pixel channels: the last RMS norm stays nearly constant."""
_LIFT = 3.0
"""Added to pixels in [−1, 1] so that the last ReLU never clips them."""


def patch_pca(images: Tensor, factor: int, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """PCA of factor×factor patches of images (B, 3, H, W).

    Returns mean (3·f²,), axes (components, 3·f²) and deviations (components,), with patches laid
    out as `pixel_unshuffle` does.
    """
    patches = nn.functional.pixel_unshuffle(images, factor).permute(0, 2, 3, 1).flatten(0, 2)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T.double()))
    order = torch.arange(components)
    axes = vectors.flip(1).T[order].float()
    return mean, axes, values.flip(0)[order].clamp_min(1e-8).sqrt().float()


@torch.no_grad()
def start_from_pca(vae: AutoencoderDC, images: Tensor) -> None:
    """Set `vae` to the patch PCA of `images` (B, 3, H, W) in [−1, 1]: latents of unit variance.

    Needs a lossless stack: f levels of four times the channels each, (4·c, 16·c, 64·c …) with
    at least 13 channels at half resolution, no layers at full resolution, no end shortcuts.
    """
    encoder, decoder = vae.encoder, vae.decoder
    levels = vae.config.encoder_block_out_channels[1:]
    factor = 2 ** len(levels)
    mean, axes, deviation = patch_pca(images, factor, vae.config.latent_channels)
    order = _pixel_channels(levels[0], factor)

    for module in vae.modules():
        if isinstance(module, ResBlock):
            module.norm.weight.zero_()
            module.norm.bias.zero_()
        elif isinstance(module, (DCDownBlock2d, DCUpBlock2d)):
            module.conv.weight.zero_()
            module.conv.bias.zero_()

    centre = (slice(None), slice(None), 1, 1)
    encoder.conv_in.conv.weight[centre][:3] = torch.eye(3)
    encoder.conv_out.weight.zero_()
    encoder.conv_out.weight[:, order, 1, 1] = axes / deviation[:, None]
    encoder.conv_out.bias.copy_(-(axes / deviation[:, None]) @ mean)

    decoder.conv_in.weight.zero_()
    decoder.conv_in.weight[order, :, 1, 1] = (axes * deviation[:, None]).T
    decoder.conv_in.bias.zero_()
    decoder.conv_in.bias[order] = mean

    last_up = decoder.up_blocks[1][0].conv
    last_up.bias[12 * 4 : 13 * 4] = _ANCHOR
    decoder.norm_out.weight.fill_(_ANCHOR / levels[0] ** 0.5)
    decoder.norm_out.bias.fill_(_LIFT)
    out = decoder.conv_out.conv
    out.weight[torch.arange(12), torch.arange(12), 1, 1] = 1
    out.bias.fill_(-_LIFT)


def _pixel_channels(half: int, factor: int) -> np.ndarray:
    """Where the coarsest level keeps each pixel of a patch.

    A patch in `pixel_unshuffle(factor)` order (3·f² values) is found at these channels of the
    level that repeated `pixel_unshuffle(2)` makes of an image whose first three channels are
    RGB and whose half-resolution level has `half` channels.
    """
    grid = torch.arange(3 * factor**2, dtype=torch.float32).view(1, -1, 1, 1)
    level = nn.functional.pixel_unshuffle(nn.functional.pixel_shuffle(grid, factor) + 1, 2)
    level = torch.cat([level, torch.zeros(1, half - 12, *level.shape[2:])], 1)
    while level.shape[-1] > 1:
        level = nn.functional.pixel_unshuffle(level, 2)
    values = level.flatten().long()
    channels = torch.empty(3 * factor**2, dtype=torch.long)
    (where,) = values.nonzero(as_tuple=True)
    channels[values[where] - 1] = where
    return channels.numpy()
