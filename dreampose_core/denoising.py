"""The denoising loss of base and subject: one problem for both.

Timesteps, noise and which conditions are dropped are part of the batch, per sample.
"""

from __future__ import annotations

import torch
from diffusers.training_utils import compute_snr
from torch import Tensor, nn

from common.settings import NoiseSettings
from common.training import Batch
from dreampose_core.conditioning import Condition
from dreampose_core.pipeline import DreamPosePipeline

CONDITION = ("uv", "parts", "warped", "classes")


class DenoisingProblem(nn.Module):
    """Mean squared error of the model's prediction (ε or v, as the scheduler says).

    `channel_weights` (C,) weigh the latent channels; `min_snr` is γ of Hang et al. (arXiv
    2303.09556), 0 for none. With `train_image_encoder` CLIP's tokens are computed in the step,
    otherwise they come with the batch as `tokens`.
    """

    def __init__(
        self,
        model: DreamPosePipeline,
        *,
        channel_weights: Tensor | None = None,
        min_snr: float = 0.0,
        train_image_encoder: bool = False,
    ):
        super().__init__()
        self.model, self.min_snr = model, min_snr
        self.unet, self.adapter = model.unet, model.adapter
        self.image_encoder = model.image_encoder
        self.conditioning = model.conditioning.requires_grad_(False)
        self.unet.requires_grad_(True)
        self.adapter.requires_grad_(True)
        self.image_encoder.requires_grad_(train_image_encoder)
        model.vae.requires_grad_(False)
        weights = torch.ones(1) if channel_weights is None else channel_weights
        self.register_buffer("channel_weights", weights.view(1, -1, 1, 1), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        scheduler = self.model.scheduler
        clean, noise, time = batch["latents"], batch["noise"], batch["time"]
        noisy = scheduler.add_noise(clean, noise, time)
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(clean, noise, time) if velocity else noise
        seen = batch.get("tokens")
        if seen is None:
            seen = self.image_encoder(batch["pixels"]).last_hidden_state
        tokens = self.model.mixed_tokens(seen, batch["reference_latents"], batch["image"])
        condition = Condition(**{name: batch[name] for name in CONDITION if name in batch})
        output = self.model.predict(noisy, time, tokens, condition, batch["image"], batch["pose"])
        loss = ((output.float() - target).square() * self.channel_weights).mean((1, 2, 3))
        return (loss * self.snr_weights(time)).mean()

    def snr_weights(self, time: Tensor) -> Tensor:
        """min-SNR-γ weights (B,) of the time steps."""
        if not self.min_snr:
            return torch.ones_like(time, dtype=torch.float32)
        snr = compute_snr(self.model.scheduler, time)
        velocity = self.model.scheduler.config.prediction_type == "v_prediction"
        return snr.clamp(max=self.min_snr) / (snr + 1 if velocity else snr)


def draw_noise(
    generator: torch.Generator, latents: Tensor, train_steps: int, settings: NoiseSettings
) -> Batch:
    """The random part of a batch for latents (B, C, h, w).

    Image alone, pose alone and both are dropped with probability `dropout` each, per sample.
    Time steps are T·(1 − u^`time_power`) for even u: 1 draws them evenly, more draws noisy ones
    more often, which few-step sampling needs most. `one_step` of the samples stand at the last
    time step with no noise at all, where a sampler of one step and noise scale 0 begins.
    """
    count, dropout = len(latents), settings.dropout
    late = 1 - torch.rand(count, generator=generator) ** settings.time_power
    lot = torch.rand(count, generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    still = torch.rand(count, generator=generator) < settings.one_step
    no_image = (lot < dropout) | (lot >= 2 * dropout) & (lot < 3 * dropout)
    no_pose = (lot >= dropout) & (lot < 3 * dropout)
    time = (late * train_steps).long().clamp(max=train_steps - 1)
    return {
        "latents": latents,
        "noise": noise * ~still.view(-1, 1, 1, 1),
        "time": time.masked_fill(still, train_steps - 1),
        "image": (~no_image).float(),
        "pose": (~no_pose).float(),
    }
