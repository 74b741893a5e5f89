"""Pictures and latents: the one place where pixel ranges change.

Frames are RGB uint8 outside, [−1, 1] float (B, 3, H, W) wherever a VAE sees them, and latents as
the autoencoder scales them.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderDC, AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

Autoencoder = AutoencoderKL | AutoencoderDC
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def to_tensor(frames: np.ndarray) -> Tensor:
    """RGB uint8 (B, H, W, 3) to [−1, 1] float (B, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frames(images: Tensor) -> np.ndarray:
    """[−1, 1] float (B, 3, H, W), clamped, to RGB uint8 (B, H, W, 3)."""
    scaled = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def encode(vae: Autoencoder, images: Tensor) -> Tensor:
    """[−1, 1] images to scaled latents (B, C, h, w): the posterior's mode, never a sample."""
    encoded = vae.encode(images)
    latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
    return latents * vae.config.scaling_factor


def decode(vae: Autoencoder, latents: Tensor) -> Tensor:
    """Scaled latents to images in [−1, 1] (not clamped)."""
    return vae.decode(latents / vae.config.scaling_factor).sample


def clip_pixels(images: Tensor, side: int) -> Tensor:
    """[−1, 1] images (B, 3, H, W) to CLIP's input (B, 3, side, side).

    As CLIP's own processor: bicubic to the shorter side, centre crop, CLIP's mean and deviation.
    """
    height, width = images.shape[-2:]
    scale = side / min(height, width)
    shape = (max(side, round(height * scale)), max(side, round(width * scale)))
    resized = F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    unit = (resized[..., top : top + side, left : left + side].clamp(-1, 1) + 1) / 2
    mean, std = (unit.new_tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (unit - mean) / std
