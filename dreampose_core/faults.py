"""What the published DreamPose code does otherwise than its paper, one fault at a time.

For the benchmark only: what each fault costs is measured with the same model, data and sampler.
Nothing else imports this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from common.settings import Sampling
from common.training import Batch
from dreampose_core.backdrop import settled
from dreampose_core.conditioning import Condition
from dreampose_core.pipeline import DreamPosePipeline, Reference
from dreampose_core.pixels import decode, encode, to_frames, to_tensor
from dreampose_core.subject import Clip, encoded_pairs

_ALPHA = 0.0047**0.5
"""How much of the picture Stable Diffusion's schedule leaves at its last time step."""


@dataclass(frozen=True)
class SamplingFaults:
    """Which faults the sampler has."""

    noised_reference: bool = False
    """it starts from the reference with noise on it instead of from noise"""
    range_mix_up: bool = False
    """the reference reaches the encoders as 0–255, not as [−1, 1]"""
    stretch: bool = False
    """each frame is stretched from its own darkest to its own brightest value"""


ALL_FAULTS = SamplingFaults(True, True, True)


@torch.no_grad()
def faulty_frames(
    model: DreamPosePipeline,
    reference: Reference,
    condition: Condition,
    settings: Sampling,
    faults: SamplingFaults,
) -> np.ndarray:
    """As the pipeline's own call, with faults: frames RGB uint8 (B, H, W, 3).

    With all of them the decoder's drafts are the frames and nothing is settled, as published.
    """
    pixels = to_tensor(reference.image[None]).to(model.device)
    if faults.range_mix_up:
        one = torch.ones(1, device=model.device)
        reference = replace(reference, tokens=model.tokens((pixels + 1) * 127.5, one))
    noise = model.initial_noise(settings.seed)
    if faults.noised_reference:
        noise = _ALPHA * encode(model.vae, pixels) + (1 - _ALPHA**2) ** 0.5 * noise
    else:
        noise = noise * settings.noise_scale
    noise = noise.expand(len(condition.uv), -1, -1, -1)
    latents = model.denoise(noise, reference, condition, settings)
    images = decode(model.vae, latents) if faults == ALL_FAULTS else model.drawn(latents, condition)
    frames = to_frames(stretched(images) if faults.stretch else images)
    if faults == ALL_FAULTS or not settings.settle:
        return frames
    return settled(frames, reference.image, reference.iuv, settings.settle)


def stretched(images: Tensor) -> Tensor:
    """Each image (B, 3, H, W) from its own minimum to its own maximum, as [−1, 1]."""
    flat = images.flatten(1)
    low, high = (edge.view(-1, 1, 1, 1) for edge in (flat.amin(1), flat.amax(1)))
    return 2 * (images - low) / (high - low) - 1


def target_is_reference(model: DreamPosePipeline, clip: Clip, pairs: int, seed: int) -> Batch:
    """Training pairs whose target is the reference itself, in its true pose window."""
    uv = model.conditioning.pose(clip.iuv).uv
    pools = []
    for index in range(len(clip.frames)):
        twice = Clip(clip.frames[[index, index]], clip.iuv[[index, index]])
        pool = encoded_pairs(model, twice, max(1, pairs // len(clip.frames)), seed)
        pool["uv"] = uv[index : index + 1].expand_as(pool["uv"]).clone()
        pools.append(pool)
    return {name: torch.cat([pool[name] for pool in pools]) for name in pools[0]}


def repeated_pose(pool: Batch) -> Batch:
    """Training pairs whose pose window shows the middle pose in every place."""
    window = pool["uv"].unflatten(1, (-1, 2))
    middle = window[:, window.shape[1] // 2]
    return pool | {"uv": middle.repeat(1, window.shape[1], 1, 1)}
