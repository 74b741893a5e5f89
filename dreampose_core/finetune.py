"""Subject finetuning: UNet and adapter, then the VAE decoder (DreamPose, section 4.3).

A subject's folder holds changed components only (`dreampose_core.changed`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.files import folder_hash, publish
from common.images import sheet
from common.settings import NoiseSettings, Sampling
from common.training import (
    Batch,
    History,
    Preview,
    TrainingSettings,
    first_process,
    resume_folder,
    train,
    write_curves,
)
from dreampose_core.changed import write_figures
from dreampose_core.denoising import DenoisingProblem, draw_noise
from dreampose_core.footprint import decoder_activations, unet_activations
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import Autoencoder, decode, encode, to_tensor
from dreampose_core.subject import Clip, encoded_pairs, jittered, read_clip

PREVIEW = Sampling(steps=10)


class DecoderProblem(nn.Module):
    """Mean squared error between decoded and true frames; only the decoder is trained."""

    def __init__(self, vae: Autoencoder):
        super().__init__()
        self.vae = vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        return F.mse_loss(decode(self.vae, batch["latents"]).float(), batch["images"])


def _pick(pool: Batch, generator: torch.Generator, count: int) -> Batch:
    index = torch.randint(0, len(next(iter(pool.values()))), (count,), generator=generator)
    return {name: rows[index] for name, rows in pool.items()}


def _publish(out: Path, history: History, settings: TrainingSettings, components: dict) -> None:
    if not first_process():
        return
    with publish(out) as partial:
        partial.mkdir()
        take_previews(out, partial)
        for name, component in components.items():
            component.save_pretrained(partial / name)
        write_curves(history, partial)
        write_figures(partial, settings, components)


def previews_folder(out: Path) -> Path:
    """Where pictures gather while `out` is trained."""
    resume = resume_folder(out)
    return resume.with_name(f"{resume.name}.previews")


def take_previews(out: Path, folder: Path) -> None:
    """Move the pictures that gathered, if any, into a folder of the finished training."""
    previews = previews_folder(out)
    if previews.is_dir():
        shutil.move(previews, folder / "previews")


def _shown(model: DreamPosePipeline, clip: Clip) -> np.ndarray:
    """The first picture as reference, the middle one as it is and as the model makes it."""
    model.to(model.unet.device)
    middle = len(clip.frames) // 2
    reference = model.look(clip.frames[0], clip.iuv[0])
    iuv = clip.iuv[middle][None]
    (made,) = model(reference, model.pose(reference, iuv), PREVIEW)
    return sheet([[clip.frames[0], clip.frames[middle], made]])


def _inputs(base: Path, frames: Path, poses: Path) -> dict[str, str]:
    return {"base": folder_hash(base), "frames": folder_hash(frames), "poses": folder_hash(poses)}


def personalize(
    model: DreamPosePipeline,
    clip: Clip,
    resume: Path,
    settings: TrainingSettings,
    *,
    pairs: int,
    noise: NoiseSettings,
    min_snr: float = 0.0,
    inputs: Mapping[str, str] | None = None,
    previews: Path | None = None,
) -> History:
    """Finetune the model's UNet and adapter to a subject's clip, in place.

    Pictures of the way there gather in the folder `previews`, where one is given.
    """
    pool = encoded_pairs(model, clip, pairs, settings.seed)
    given = dict(inputs or {}) | {"pairs": str(pairs)}
    return train_on(
        model,
        pool,
        resume,
        settings,
        noise=noise,
        min_snr=min_snr,
        inputs=given,
        preview=Preview(previews, lambda: _shown(model, clip)) if previews else None,
    )


def train_on(
    model: DreamPosePipeline,
    pool: Batch,
    resume: Path,
    settings: TrainingSettings,
    *,
    noise: NoiseSettings,
    min_snr: float = 0.0,
    inputs: Mapping[str, str] | None = None,
    preview: Preview | None = None,
) -> History:
    """Train the model's UNet and adapter on pairs of `encoded_pairs`, in place."""
    train_steps = model.scheduler.config.num_train_timesteps

    def draw(generator: torch.Generator) -> Batch:
        rows = _pick(pool, generator, settings.batch_size)
        return rows | draw_noise(generator, rows["latents"], train_steps, noise)

    problem = DenoisingProblem(model, min_snr=min_snr)
    numbers = asdict(noise) | {"min_snr": min_snr}
    given = dict(inputs or {}) | {name: str(number) for name, number in numbers.items()}
    return train(
        problem,
        draw,
        settings,
        resume,
        label="finetune unet",
        inputs=given,
        preview=preview,
        activations=lambda fitted: unet_activations(model, fitted),
    )


def finetune_unet(
    base: Path,
    frames: Path,
    poses: Path,
    out: Path,
    pairs: int,
    noise: NoiseSettings,
    min_snr: float,
    settings: TrainingSettings,
) -> None:
    """Finetune UNet and adapter to a subject's frames and poses folders; write both to `out`."""
    model = load(str(base))
    history = personalize(
        model,
        read_clip(model, frames, poses),
        resume_folder(out),
        settings,
        pairs=pairs,
        noise=noise,
        min_snr=min_snr,
        inputs=_inputs(base, frames, poses),
        previews=previews_folder(out),
    )
    _publish(out, history, settings, {"unet": model.unet, "adapter": model.adapter})


def finetune_vae(
    base: Path, frames: Path, poses: Path, out: Path, pairs: int, settings: TrainingSettings
) -> None:
    """Finetune the VAE's decoder to a subject's frames; write the VAE to `out`."""
    model = load(str(base))
    clip = read_clip(model, frames, poses)
    random = np.random.default_rng(settings.seed)
    chosen = random.integers(0, len(clip.frames), pairs)
    moved = [jittered(clip.frames[i], clip.iuv[i], random)[0] for i in chosen]
    images = to_tensor(np.stack(moved))
    with torch.no_grad():
        latents = torch.cat([encode(model.vae, part) for part in images.split(4)])
    pool = {"images": images, "latents": latents}
    history = train(
        DecoderProblem(model.vae),
        lambda generator: _pick(pool, generator, settings.batch_size),
        settings,
        resume_folder(out),
        label="finetune vae",
        inputs=_inputs(base, frames, poses) | {"pairs": str(pairs)},
        activations=lambda fitted: decoder_activations(model, fitted),
    )
    _publish(out, history, settings, {"vae": model.vae})
