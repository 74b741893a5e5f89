"""Recipe, steps 2 and 5: the small autoencoder. Its encoder is a patch PCA, its decoder trained.

A closed-form encoder needs no training, so what depends on the latents (encoded shards, the
base) does not wait for the decoder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor, nn

from common.files import folder_hash, publish, write_json
from common.shards import Shard, open_shard
from common.training import Batch, TrainingSettings, resume_folder, train, write_curves
from dreampose_core.autoencoder import start_from_pca
from dreampose_core.metrics import psnr
from dreampose_core.model import build
from dreampose_core.pixels import decode, encode, to_frames, to_tensor

_PCA_FRAMES, _MEASURED_FRAMES = 512, 128
_LATENT_NOISE = 0.05


class DecoderProblem(nn.Module):
    """Reconstruction: L1 + ½·MSE + ½·L1 of the gradients, with a little noise on the latents."""

    def __init__(self, vae: AutoencoderDC):
        super().__init__()
        self.vae = vae.to(memory_format=torch.channels_last)
        vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            latents = encode(self.vae, batch["images"])
        noise = _LATENT_NOISE * batch["noise"]
        wrong = decode(self.vae, latents + noise).float() - batch["images"]
        edges = sum(wrong.diff(dim=axis).abs().mean() for axis in (2, 3))
        return wrong.abs().mean() + 0.5 * wrong.square().mean() + 0.5 * edges


def pick_frames(shard: Shard, generator: torch.Generator, count: int) -> np.ndarray:
    """`count` random frames (count, H, W, 3) of a shard."""
    index = [torch.randint(0, n, (count,), generator=generator).numpy() for n in shard.shape]
    return np.stack([shard.rgb[i] for i in zip(*index, strict=True)])


def round_trip(vae: AutoencoderDC, frames: np.ndarray) -> float:
    """Mean PSNR in dB of frames uint8 (B, H, W, 3) after encoding and decoding."""
    device = next(vae.parameters()).device
    with torch.no_grad():
        back = to_frames(decode(vae, encode(vae, to_tensor(frames).to(device))))
    return float(np.mean([psnr(a, b) for a, b in zip(frames, back, strict=True)]))


def start_autoencoder(architecture: Path, data: Path, out: Path, seed: int) -> None:
    """The architecture's autoencoder set to the patch PCA of a shard's frames."""
    vae = build(architecture, seed).vae
    random = torch.Generator().manual_seed(seed)
    start_from_pca(vae, to_tensor(pick_frames(open_shard(data), random, _PCA_FRAMES)))
    with publish(out) as partial:
        vae.save_pretrained(partial)


def train_decoder(
    vae: Path, data: Path, validation: Path, out: Path, settings: TrainingSettings
) -> None:
    """Train the decoder of the autoencoder folder `vae`; the latents stay what they are."""
    shard = open_shard(data)
    random = torch.Generator().manual_seed(settings.seed)
    measured = pick_frames(open_shard(validation), random, _MEASURED_FRAMES)
    coder = AutoencoderDC.from_pretrained(vae)
    figures = {"pca_psnr": round_trip(coder, measured)}

    def draw(generator: torch.Generator) -> Batch:
        images = to_tensor(pick_frames(shard, generator, settings.batch_size))
        flip = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)
        factor = 2 ** (len(coder.config.encoder_block_out_channels) - 1)
        grid = [side // factor for side in images.shape[2:]]
        noise = torch.randn(len(images), coder.config.latent_channels, *grid, generator=generator)
        return {"images": images, "noise": noise}

    history = train(
        DecoderProblem(coder),
        draw,
        settings,
        resume_folder(out),
        label="decoder",
        inputs={"data": shard.key, "vae": folder_hash(vae)},
        evaluate=lambda: {"psnr": round_trip(coder, measured)},
    )
    figures |= {"psnr": history[-1]["psnr"], "steps": settings.steps}
    with publish(out) as partial:
        coder.save_pretrained(partial)
        write_curves(history, partial / "training")
        write_json(partial / "training" / "figures.json", figures)
