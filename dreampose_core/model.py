"""The model folder: a diffusers pipeline directory with one subfolder a component.

`load` takes a finished folder, a hub id or an architecture file (`presets/architectures/*.json`:
configuration alone, random weights from a seed). A plain Stable Diffusion folder becomes a
DreamPose model by `from_stable_diffusion`.
"""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModel

from common.errors import InputError
from dreampose_core.adapter import EmbeddingAdapter
from dreampose_core.conditioning import Conditioning
from dreampose_core.detail import DetailNetwork
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.unet import widen_conv_in

CLIP_ID = "openai/clip-vit-base-patch32"


def build(architecture: Path, seed: int = 0) -> DreamPosePipeline:
    """A model with random weights from an architecture file; the seed decides every weight."""
    try:
        spec = json.loads(architecture.read_text(encoding="utf-8"))
        torch.manual_seed(seed)
        conditioning = Conditioning(**spec["conditioning"])
        vae = _made(spec["vae"])
        image_encoder = CLIPVisionModel(CLIPVisionConfig(**spec["image_encoder"])).eval()
        unet = UNet2DConditionModel(**spec["unet"])
        scheduler = _made(spec["scheduler"])
        widen_conv_in(unet, conditioning.extra_channels)
        adapter = new_adapter(conditioning, image_encoder)
        detail = DetailNetwork(**spec["detail"]) if "detail" in spec else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{architecture} is not an architecture file ({error})",
            "see presets/architectures/mini.json",
        ) from None
    return DreamPosePipeline(vae, image_encoder, adapter, unet, conditioning, scheduler, detail)


def _made(spec: dict) -> torch.nn.Module:
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "class"}
    return getattr(diffusers, spec["class"])(**config)


def new_adapter(conditioning: Conditioning, image_encoder: CLIPVisionModel) -> EmbeddingAdapter:
    """An adapter of the sizes that the model's latents and CLIP's tokens ask for."""
    height, width = conditioning.grid
    config = image_encoder.config
    return EmbeddingAdapter(
        latent_cells=(height // 2) * (width // 2),
        latent_channels=conditioning.config.latent_channels,
        image_tokens=(config.image_size // config.patch_size) ** 2 + 1,
        width=config.hidden_size,
    )


def from_stable_diffusion(
    source: str, revision: str | None, clip: str = CLIP_ID
) -> DreamPosePipeline:
    """Stable Diffusion 1.x components plus CLIP's vision model, ready for base finetuning."""
    load = {"revision": revision} if revision else {}
    vae = diffusers.AutoencoderKL.from_pretrained(source, subfolder="vae", **load)
    unet = UNet2DConditionModel.from_pretrained(source, subfolder="unet", **load)
    scheduler = diffusers.PNDMScheduler.from_pretrained(source, subfolder="scheduler", **load)
    image_encoder = CLIPVisionModel.from_pretrained(clip)
    conditioning = Conditioning(latent_channels=unet.config.in_channels)
    widen_conv_in(unet, conditioning.extra_channels)
    adapter = new_adapter(conditioning, image_encoder)
    return DreamPosePipeline(vae, image_encoder, adapter, unet, conditioning, scheduler)


def load(source: str, revision: str | None = None, seed: int = 0) -> DreamPosePipeline:
    """A model from a folder, a hub id or an architecture file, in float32 on the CPU.

    Raises InputError at once where the source is missing or offline.
    """
    path = Path(source)
    if path.suffix == ".json":
        return build(path, seed)
    try:
        if (path / "conditioning").is_dir():
            return DreamPosePipeline.from_pretrained(path, dtype=torch.float32)
        return from_stable_diffusion(source, revision)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"no model at {source!r}: {reason}",
            "give a model folder, a Stable Diffusion folder, or a hub id while online",
        ) from None
