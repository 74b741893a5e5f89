"""Recipe, step 4: the small base model, on the arrays that `encode-shard` made."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from common.errors import InputError
from common.files import file_hash, folder_hash, publish, write_json
from common.settings import NoiseSettings
from common.shards import Shard, open_shard
from common.training import Batch, TrainingSettings, resume_folder, train, write_curves
from dreampose_core.conditioning import CLASS_MAP_CHANNELS, Condition
from dreampose_core.denoising import DenoisingProblem, draw_noise
from dreampose_core.encode_shard import ARRAYS
from dreampose_core.metrics import psnr, ssim
from dreampose_core.model import build, load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import Autoencoder, clip_pixels, decode, to_frames, to_tensor
from dreampose_core.posemaps import window_indices

_PRIOR_FRAMES, _SENSITIVITY_FRAMES, _MEASURED_FRAMES = 512, 32, 192


@dataclass(frozen=True)
class BaseData:
    """A shard and its encoded arrays."""

    shard: Shard
    arrays: dict[str, np.ndarray]
    window: int

    @classmethod
    def open(cls, shard: Path, encoded: Path, window: int) -> BaseData:
        """Open both; raises InputError where a folder is not what it should be."""
        try:
            arrays = {name: np.load(encoded / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        except (OSError, ValueError) as error:
            raise InputError(
                f"{encoded} holds no encoded shard ({error})",
                "make it with: python -m dreampose_core encode-shard",
            ) from None
        return cls(open_shard(shard), arrays, window)

    def rows(self, subjects: np.ndarray, clips: np.ndarray, frames: np.ndarray) -> Batch:
        """Latents, conditions and references of some frames, float32."""
        take = {
            name: torch.from_numpy(
                np.stack([self.arrays[name][i] for i in zip(subjects, clips, frames, strict=True)])
            ).float()
            for name in ("latents", "parts", "warped", "classes")
        }
        around = window_indices(self.shard.shape[2], self.window).numpy()[frames]
        uv = [self.arrays["uv"][s, c, a] for s, c, a in zip(subjects, clips, around, strict=True)]
        other = (clips + 1) % self.shard.shape[1]
        index = list(zip(subjects, other, self.reference(subjects, clips, frames), strict=True))
        seen = [self.arrays["latents"][i] for i in index]
        take["uv"] = torch.from_numpy(np.stack(uv)).float().flatten(1, 2)
        take["reference_latents"] = torch.from_numpy(np.stack(seen)).float()
        take["pictures"] = to_tensor(np.stack([self.shard.rgb[i] for i in index]))
        return take

    def reference(self, subjects: np.ndarray, clips: np.ndarray, frames: np.ndarray) -> list[int]:
        """Which frame of the other clip is each frame's reference."""
        chosen = self.arrays["reference"]
        return [int(chosen[i]) for i in zip(subjects, clips, frames, strict=True)]

    def pick(self, generator: torch.Generator, count: int) -> tuple[np.ndarray, ...]:
        """Random (subjects, clips, frames), front, side and back equally often."""
        chances = self.chances
        chosen = torch.multinomial(chances.flatten(), count, True, generator=generator)
        return tuple(index.numpy() for index in torch.unravel_index(chosen, chances.shape))

    @cached_property
    def chances(self) -> Tensor:
        """Probability (S, C, T) of each frame, of the subjects that are encoded."""
        return torch.from_numpy(self.shard.balance()[: len(self.arrays["latents"])])


def fit_prior(warped: Tensor, classes: Tensor, latents: Tensor) -> Tensor:
    """Variance (4, C) of the warped latents' error a class, by non-negative least squares.

    All inputs are (B, …, h, w); a cell's squared error is modelled as the class shares' mix.
    """
    shares = classes.unflatten(1, (CLASS_MAP_CHANNELS // 4, 4)).mean(2)
    matrix = shares.transpose(0, 1).flatten(1).T.double().numpy()
    errors = (warped - latents).square().transpose(0, 1).flatten(1).double().numpy()
    return torch.from_numpy(np.stack([nnls(matrix, error)[0] for error in errors], 1)).float()


@torch.no_grad()
def decoder_sensitivity(vae: Autoencoder, latents: Tensor, generator: torch.Generator) -> Tensor:
    """How much each latent channel (C,) moves the picture: mean squared change, mean 1."""
    plain, change = decode(vae, latents), []
    for channel in range(latents.shape[1]):
        moved = latents.clone()
        moved[:, channel] += 0.1 * torch.randn(latents[:, 0].shape, generator=generator)
        change.append((decode(vae, moved) - plain).square().mean())
    weights = torch.stack(change)
    return weights / weights.mean()


def train_base(
    architecture: Path,
    vae: Path,
    data: Path,
    encoded: Path,
    validation: Path,
    validation_encoded: Path,
    out: Path,
    start: Path | None,
    noise: NoiseSettings,
    settings: TrainingSettings,
) -> None:
    """Train UNet, adapter and image encoder together; write a whole model folder to `out`.

    It begins with the model folder `start`, else with random weights, and has no detail network:
    that is trained on what the base draws.
    """
    model = load(str(start)) if start else build(architecture, settings.seed)
    model.register_modules(detail=None)
    model.vae.load_state_dict(type(model.vae).from_pretrained(vae).state_dict())
    window = model.conditioning.config.pose_window
    train_data = BaseData.open(data, encoded, window)
    held_out = BaseData.open(validation, validation_encoded, window)

    random = torch.Generator().manual_seed(settings.seed)
    sample = train_data.rows(*train_data.pick(random, _PRIOR_FRAMES))
    if model.conditioning.config.prior:
        variance = fit_prior(sample["warped"], sample["classes"], sample["latents"])
        model.conditioning.variance.data.copy_(variance)
    weights = decoder_sensitivity(model.vae, sample["latents"][:_SENSITIVITY_FRAMES], random)
    if not start:
        torch.nn.init.zeros_(model.unet.conv_out.weight)
        torch.nn.init.zeros_(model.unet.conv_out.bias)

    train_steps = model.scheduler.config.num_train_timesteps
    side = model.image_encoder.config.image_size

    def draw(generator: torch.Generator) -> Batch:
        rows = train_data.rows(*train_data.pick(generator, settings.batch_size))
        rows["pixels"] = clip_pixels(rows.pop("pictures"), side)
        return rows | draw_noise(generator, rows.pop("latents"), train_steps, noise)

    measured = held_out.pick(random, _MEASURED_FRAMES)
    problem = DenoisingProblem(model, channel_weights=weights, train_image_encoder=True)
    inputs = {
        "data": file_hash(encoded / "meta.json"),
        "validation": file_hash(validation_encoded / "meta.json"),
        "architecture": architecture.read_text(),
        "vae": folder_hash(vae),
        "start": folder_hash(start) if start else "",
        "noise": str(noise),
    }
    with attention():
        history = train(
            problem,
            draw,
            settings,
            resume_folder(out),
            label="base",
            inputs=inputs,
            evaluate=lambda: measure(model, held_out, measured),
        )
    with publish(out) as partial:
        model.save_pretrained(partial)
        write_curves(history, partial / "training")
        write_json(partial / "training" / "figures.json", history[-1])


def attention() -> AbstractContextManager:
    """On the CPU the plain attention: over a few hundred tokens it trains faster than the fused."""
    return nullcontext() if torch.cuda.is_available() else sdpa_kernel(SDPBackend.MATH)


@torch.no_grad()
def measure(model: DreamPosePipeline, data: BaseData, index: tuple) -> dict[str, float]:
    """PSNR and SSIM of frames sampled in one step against the true ones, to watch a training."""
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    rows = {k: v.to(model.device) for k, v in data.rows(*index).items()}
    condition = Condition(*(rows[name] for name in ("uv", "parts", "warped", "classes")))
    ones = torch.ones(len(rows["uv"]), device=model.device)
    seen = model.image_encoder(
        clip_pixels(rows["pictures"], model.image_encoder.config.image_size)
    ).last_hidden_state
    tokens = model.mixed_tokens(seen, rows["reference_latents"], ones)
    start = torch.zeros_like(rows["latents"])
    model.scheduler.set_timesteps(1, device=model.device)
    time = model.scheduler.timesteps[0]
    output = model.predict(start, time.expand(len(start)), tokens, condition, ones, ones)
    latents = model.scheduler.step(output, time, start).prev_sample
    frames = to_frames(decode(model.vae, latents))
    truth = [data.shard.rgb[i] for i in zip(*index, strict=True)]
    pairs = list(zip(frames, truth, strict=True))
    return {
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a, b) for a, b in pairs])),
    }
