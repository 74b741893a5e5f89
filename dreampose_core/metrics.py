"""How near two pictures are, and how steady a clip is: pure functions, plain floats out.

Pictures are RGB (H, W, 3) or batches (T, H, W, 3), numpy or torch, uint8 0–255 or float 0–1;
masks are bool (H, W) or (T, H, W). Of a batch, the mean over its pictures is returned. Masked
figures leave out pictures whose mask is empty and are NaN where all are.
"""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from dreampose_core.colour import lab

Images = np.ndarray | torch.Tensor

MAX_PSNR = 100.0
"""dB given to pictures that are equal."""

_LUMA = torch.tensor([0.2126, 0.7152, 0.0722])


def l1(a: Images, b: Images) -> float:
    """Mean absolute difference, 0–1."""
    return (_batch(a) - _batch(b)).abs().mean().item()


def psnr(a: Images, b: Images) -> float:
    """Peak signal-to-noise ratio in dB, at most MAX_PSNR."""
    return _decibels((_batch(a) - _batch(b)).square().mean((1, 2, 3))).mean().item()


def masked_psnr(a: Images, b: Images, mask: Images) -> float:
    """PSNR in dB over the pixels where `mask` is True."""
    inside = _mask(mask)
    error = (_batch(a) - _batch(b)).square().mean(1)
    count = inside.sum((1, 2))
    mean = (error * inside).sum((1, 2))[count > 0] / count[count > 0]
    return _decibels(mean).mean().item()


def ssim(a: Images, b: Images) -> float:
    """Structural similarity (Gaussian window, σ 1.5) of pictures of at least 11×11 pixels."""
    return structural_similarity_index_measure(_batch(a), _batch(b), data_range=1.0).item()


def masked_ssim(a: Images, b: Images, mask: Images) -> float:
    """Mean of the SSIM map over the pixels where `mask` is True."""
    _, full = structural_similarity_index_measure(
        _batch(a), _batch(b), data_range=1.0, return_full_image=True
    )
    inside = _mask(mask)
    count = inside.sum((1, 2))
    total = (full.mean(1) * inside).sum((1, 2))
    return (total[count > 0] / count[count > 0]).mean().item()


def by_picture(a: Images, b: Images, mask: Images) -> dict[str, list[float]]:
    """PSNR and SSIM of each picture, on the full frame and (`person_…`) inside the mask."""
    first, second, inside = _batch(a), _batch(b), _mask(mask)
    error = (first - second).square().mean(1)
    similar, full = structural_similarity_index_measure(
        first, second, data_range=1.0, reduction="none", return_full_image=True
    )
    count = inside.sum((1, 2))
    return {
        "psnr": _decibels(error.mean((1, 2))).tolist(),
        "ssim": similar.reshape(-1).tolist(),
        "person_psnr": _decibels((error * inside).sum((1, 2)) / count).tolist(),
        "person_ssim": ((full.mean(1) * inside).sum((1, 2)) / count).tolist(),
    }


def flicker(frames: Images, background: Images) -> float:
    """Mean absolute change of brightness (BT.709 luma, 0–1) from frame to frame.

    Only pixels count that are `background` (bool (T, H, W)) in both frames. NaN where there is
    nothing to compare.
    """
    luma = torch.einsum("tchw,c->thw", _batch(frames), _LUMA)
    return luma.diff(dim=0).abs()[_still(background)].mean().item()


def colour_flicker(frames: Images, background: Images) -> float:
    """Mean change of colour (distance in CIELAB's a, b plane) from frame to frame, as `flicker`."""
    pixels = (_batch(frames).movedim(1, -1) * 255).round().to(torch.uint8).numpy()
    change = torch.from_numpy(lab(pixels)[..., 1:]).diff(dim=0).norm(dim=-1)
    return change[_still(background)].mean().item()


def _still(background: Images) -> torch.Tensor:
    """Bool (T − 1, H, W): background in a frame and in the next."""
    mask = _mask(background)
    return mask[1:] & mask[:-1]


def _batch(images: Images) -> torch.Tensor:
    """Float32 (T, 3, H, W), 0–1."""
    tensor = torch.as_tensor(np.asarray(images))
    scaled = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
    return scaled.reshape(-1, *scaled.shape[-3:]).movedim(-1, 1)


def _mask(mask: Images) -> torch.Tensor:
    """Bool (T, H, W)."""
    tensor = torch.as_tensor(np.asarray(mask)).bool()
    return tensor.reshape(-1, *tensor.shape[-2:])


def _decibels(mean_square: torch.Tensor) -> torch.Tensor:
    return -10 * mean_square.clamp_min(10 ** (-MAX_PSNR / 10)).log10()
