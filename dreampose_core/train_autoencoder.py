"""Recipe, step 2: the small autoencoder, from patch PCA onwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor, nn

from common.files import publish, write_json
from common.training import Batch, TrainingSettings, resume_folder, train, write_curves
from dreampose_core.autoencoder import standardise, start_from_pca
from dreampose_core.metrics import psnr
from dreampose_core.model import build
from dreampose_core.pixels import decode, encode, to_frames, to_tensor
from dreampose_core.shards import Shard, open_shard

_PCA_FRAMES, _MEASURED_FRAMES = 512, 128
_LATENT_NOISE = 0.05


class AutoencoderProblem(nn.Module):
    """Reconstruction: L1 + ½·MSE + ½·L1 of the gradients, with a little noise on the latents."""

    def __init__(self, vae: AutoencoderDC):
        super().__init__()
        self.vae = vae.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> Tensor:
        target = batch["images"]
        latents = encode(self.vae, target)
        result = decode(self.vae, latents + _LATENT_NOISE * batch["noise"]).float()
        wrong = result - target
        edges = sum(wrong.diff(dim=axis).abs().mean() for axis in (2, 3))
        return wrong.abs().mean() + 0.5 * wrong.square().mean() + 0.5 * edges


def pick_frames(shard: Shard, generator: torch.Generator, count: int) -> np.ndarray:
    """`count` random frames (count, H, W, 3) of a shard."""
    index = [torch.randint(0, n, (count,), generator=generator).numpy() for n in shard.shape]
    return np.stack([shard.rgb[i] for i in zip(*index, strict=True)])


def round_trip(vae: AutoencoderDC, frames: np.ndarray) -> float:
    """Mean PSNR in dB of frames uint8 (B, H, W, 3) after encoding and decoding."""
    with torch.no_grad():
        back = to_frames(decode(vae, encode(vae, to_tensor(frames))))
    return float(np.mean([psnr(a, b) for a, b in zip(frames, back, strict=True)]))


def train_autoencoder(
    architecture: Path, data: Path, validation: Path, out: Path, settings: TrainingSettings
) -> None:
    """Train the autoencoder of `architecture` on a shard; write a diffusers folder to `out`."""
    shard, held_out = open_shard(data), open_shard(validation)
    vae = build(architecture, settings.seed).vae
    random = torch.Generator().manual_seed(settings.seed)
    start_from_pca(vae, to_tensor(pick_frames(shard, random, _PCA_FRAMES)))
    measured = pick_frames(held_out, random, _MEASURED_FRAMES)
    figures = {"pca_psnr": round_trip(vae, measured)}
    print(f"patch PCA alone: {figures['pca_psnr']:.2f} dB", flush=True)
    grid = tuple(n // 2 ** (len(vae.config.encoder_block_out_channels) - 1) for n in measured.shape[1:3])

    def draw(generator: torch.Generator) -> Batch:
        images = to_tensor(pick_frames(shard, generator, settings.batch_size))
        flip = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)
        noise = torch.randn(len(images), vae.config.latent_channels, *grid, generator=generator)
        return {"images": images, "noise": noise}

    history = train(
        AutoencoderProblem(vae),
        draw,
        settings,
        resume_folder(out),
        label="autoencoder",
        inputs={"data": shard.key, "architecture": architecture.read_text()},
        evaluate=lambda: {"psnr": round_trip(vae, measured)},
    )
    with torch.no_grad():
        sample = to_tensor(pick_frames(shard, random, _PCA_FRAMES))
        standardise(vae, torch.cat([encode(vae, part) for part in sample.split(32)]))
    figures |= {"psnr": round_trip(vae, measured), "steps": settings.steps}
    with publish(out) as partial:
        vae.save_pretrained(partial)
        write_curves(history, partial)
        write_json(partial / "figures.json", figures)
    print(f"round trip on held-out subjects: {figures['psnr']:.2f} dB")
