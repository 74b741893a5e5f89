"""`DreamPosePipeline`: a reference picture and a clip's poses to frames.

The steps are short functions without hidden state: `look` (the reference, once), `pose` (the
clip's conditions), `initial_noise`, `denoise`, `drawn`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import DiffusionPipeline, SchedulerMixin, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionModel

from common.settings import Sampling
from dreampose_core.adapter import EmbeddingAdapter
from dreampose_core.backdrop import settled
from dreampose_core.conditioning import Condition, Conditioning, repeat
from dreampose_core.detail import DetailNetwork, both_ways, pixels
from dreampose_core.guidance import branch_weights
from dreampose_core.pixels import Autoencoder, clip_pixels, decode, encode, to_frames, to_tensor
from dreampose_core.warp import warp


@dataclass(frozen=True)
class Reference:
    """What the model keeps of the subject's picture, at the model's size."""

    image: np.ndarray
    """RGB uint8 (H, W, 3)"""
    iuv: np.ndarray
    """its IUV image uint8 (H, W, 3)"""
    tokens: Tensor
    """(1, tokens, width)"""
    null_tokens: Tensor
    """(1, tokens, width): the tokens of the null image (zeros)"""
    latents: Tensor
    """(1, C, h, w)"""


class DreamPosePipeline(DiffusionPipeline):
    """Image-and-pose-guided synthesis, DreamPose (arXiv 2304.06025).

    `detail` is for models with a warp; without it the decoder's drafts are the frames.
    """

    _optional_components = ["detail"]  # noqa: RUF012

    def __init__(
        self,
        vae: Autoencoder,
        image_encoder: CLIPVisionModel,
        adapter: EmbeddingAdapter,
        unet: UNet2DConditionModel,
        conditioning: Conditioning,
        scheduler: SchedulerMixin,
        detail: DetailNetwork | None = None,
    ):
        super().__init__()
        self.register_modules(
            vae=vae,
            image_encoder=image_encoder,
            adapter=adapter,
            unet=unet,
            conditioning=conditioning,
            scheduler=scheduler,
            detail=detail,
        )

    def tokens(self, images: Tensor, keep: Tensor) -> Tensor:
        """Cross-attention tokens of images (B, 3, H, W) in [−1, 1]; `keep` (B,) 0 drops them.

        A dropped image is the null condition: zeros for CLIP's tokens and for the latents.
        """
        side = self.image_encoder.config.image_size
        seen = self.image_encoder(clip_pixels(images, side)).last_hidden_state
        with torch.no_grad():
            latents = encode(self.vae, images)
        return self.mixed_tokens(seen, latents, keep)

    def mixed_tokens(self, seen: Tensor, latents: Tensor, keep: Tensor) -> Tensor:
        """The adapter's tokens from CLIP's tokens and latents, both zeroed where dropped."""
        keep = keep.to(seen)
        return self.adapter(seen * keep.view(-1, 1, 1), latents * keep.view(-1, 1, 1, 1))

    @torch.no_grad()
    def look(self, image: np.ndarray, iuv: np.ndarray) -> Reference:
        """Encode the reference once: RGB and IUV uint8 (H, W, 3) at the model's size."""
        pixels = to_tensor(image[None]).to(self.device, self.unet.dtype)
        one = torch.ones(1, device=self.device)
        tokens, null = self.tokens(pixels, one), self.tokens(pixels, 0 * one)
        return Reference(image, iuv, tokens, null, encode(self.vae, pixels))

    def pose(self, reference: Reference, iuvs: np.ndarray) -> Condition:
        """The conditions of a whole clip's poses uint8 (T, H, W, 3) at the model's size."""
        return self.condition(reference, self.conditioning.pose(iuvs), iuvs)

    @torch.no_grad()
    def condition(self, reference: Reference, pose: Condition, iuvs: np.ndarray) -> Condition:
        """Pose conditions of some frames completed by the reference warped into them."""
        if self.conditioning.config.warp:
            moved = warp(reference.image, reference.iuv, iuvs)
            warped = encode(self.vae, to_tensor(moved.frames).to(self.device, self.vae.dtype))
            classes = self.conditioning.class_maps(moved.shares)
            pose = replace(pose, warped=warped, classes=classes, pixels=pixels(moved, iuvs))
        return pose.map(lambda v: v.to(self.device, self.unet.dtype))

    def initial_noise(self, seed: int) -> Tensor:
        """One noise sample (1, C, h, w), the same for every frame of a video."""
        shape = (1, self.conditioning.config.latent_channels, *self.conditioning.grid)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator).to(self.device, self.unet.dtype)

    def predict(
        self,
        noisy: Tensor,
        time: Tensor,
        tokens: Tensor,
        condition: Condition,
        image: Tensor,
        pose: Tensor,
    ) -> Tensor:
        """The model's prediction at `time` (B,); `image`, `pose` (B,) are 1 to keep, 0 to drop."""
        extra = self.conditioning.channels(condition, image, pose)
        output = self.unet(torch.cat([noisy, extra], 1), time, tokens).sample
        clean = self.scheduler.alphas_cumprod.to(noisy.device)[time].view(-1, 1, 1, 1)
        alpha, sigma = clean.sqrt().to(noisy), (1 - clean).sqrt().to(noisy)
        return self.conditioning.complete(
            output.to(noisy.dtype), noisy, condition, alpha, sigma, image, pose
        )

    def guided(
        self,
        noisy: Tensor,
        time: Tensor,
        reference: Reference,
        condition: Condition,
        s1: float,
        s2: float,
    ) -> Tensor:
        """Dual guidance in one batch; a branch whose weight is zero is left out."""
        branches = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
        kept = [
            (weight, *branch)
            for weight, branch in zip(branch_weights(s1, s2), branches, strict=True)
            if weight
        ]
        count, times = len(noisy), len(kept)
        weights, image, pose = (
            noisy.new_tensor(column).repeat_interleave(count) for column in zip(*kept, strict=True)
        )
        tokens = torch.where(image.bool()[:, None, None], reference.tokens, reference.null_tokens)
        output = self.predict(
            noisy.repeat(times, 1, 1, 1),
            time.expand(count * times),
            tokens,
            repeat(replace(condition, pixels=None), times),
            image,
            pose,
        )
        return (output * weights.view(-1, 1, 1, 1)).unflatten(0, (times, count)).sum(0)

    @torch.no_grad()
    def denoise(
        self, noise: Tensor, reference: Reference, condition: Condition, settings: Sampling
    ) -> Tensor:
        """Clean latents (B, C, h, w) from noise (B, C, h, w), or from the noised reference."""
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        scheduler.set_timesteps(settings.steps, device=self.device)
        latents = noise * scheduler.init_noise_sigma
        if settings.start_from == "reference":
            first = scheduler.timesteps[:1]
            latents = scheduler.add_noise(reference.latents.expand_as(noise), noise, first)
        for time in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, time)
            output = self.guided(scaled, time, reference, condition, settings.s1, settings.s2)
            latents = scheduler.step(output, time, latents).prev_sample
        return latents

    @torch.no_grad()
    def drawn(self, latents: Tensor, condition: Condition) -> Tensor:
        """Images (B, 3, H, W) in [−1, 1] (not clamped) from clean latents and their conditions.

        Without a detail network, or conditions without pixels, they are the decoder's drafts.
        """
        draft = decode(self.vae, latents)
        if self.detail is None or condition.pixels is None:
            return draft
        return both_ways(self.detail, draft, condition.pixels)

    @torch.no_grad()
    def __call__(
        self, reference: Reference, condition: Condition, settings: Sampling
    ) -> np.ndarray:
        """Frames RGB uint8 (B, H, W, 3) of the poses in `condition`, all from one noise sample."""
        noise = self.initial_noise(settings.seed) * settings.noise_scale
        noise = noise.expand(len(condition.uv), -1, -1, -1)
        frames = to_frames(
            self.drawn(self.denoise(noise, reference, condition, settings), condition)
        )
        if not settings.settle:
            return frames
        return settled(frames, reference.image, reference.iuv, settings.settle)
