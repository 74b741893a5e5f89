"""Base finetuning (DreamPose, section 4.2): UNet and adapter on the clips of a dataset.

Every sample is a pair of frames of one clip, the target never the reference, with the target's
true pose window, clamped at the clip's ends. The clips come from `encode-clips`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import InputError
from common.files import file_hash, folder_hash, publish, write_json
from common.images import sheet
from common.settings import NoiseSettings
from common.training import (
    Batch,
    History,
    Preview,
    TrainingSettings,
    first_process,
    resume_folder,
    step_generator,
    train,
    write_curves,
)
from dreampose_core.conditioning import Condition
from dreampose_core.denoising import CONDITION, DenoisingProblem, draw_noise
from dreampose_core.encode_clips import CLIPS, INFO, encoders_hash
from dreampose_core.finetune import PREVIEW, previews_folder, take_previews
from dreampose_core.footprint import unet_activations
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline, Reference
from dreampose_core.pixels import decode, to_frames
from dreampose_core.posemaps import window
from dreampose_core.subject import warped_reference

_VALIDATION_PAIRS, _AT_ONCE, _SHOWN_PAIRS = 64, 4, 3


class Pair(NamedTuple):
    """A clip and two different frames of it."""

    clip: int
    target: int
    reference: int


@dataclass(frozen=True)
class EncodedClips:
    """One part of an encoded dataset: the clips' folders and their frame counts."""

    folders: list[Path]
    counts: Tensor

    @classmethod
    def open(cls, encoded: Path, part: str) -> EncodedClips:
        """Open the part "train" or "test". Raises InputError where a pair cannot be drawn."""
        clips = read_info(encoded)[part]
        short = [name for name, clip in clips.items() if clip["count"] < 2]
        if short:
            raise InputError(
                f"the clip {short[0]} has one frame; a pair needs two",
                "leave it out of the dataset: run dreampose dataset again",
            )
        counts = torch.tensor([clip["count"] for clip in clips.values()], dtype=torch.long)
        return cls([encoded / CLIPS / name for name in clips], counts)

    @property
    def frames(self) -> int:
        """How many frames there are: as many targets as an epoch draws."""
        return int(self.counts.sum())

    def draw(self, generator: torch.Generator, count: int) -> list[Pair]:
        """Random pairs: every frame is as likely a target, every other one of its clip as likely
        the reference."""
        ends = self.counts.cumsum(0)
        chosen = torch.randint(self.frames, (count,), generator=generator)
        clips = torch.searchsorted(ends, chosen, right=True)
        lengths = self.counts[clips]
        targets = chosen - ends[clips] + lengths
        ahead = 1 + (torch.rand(count, generator=generator) * (lengths - 1)).long()
        references = (targets + ahead) % lengths
        return [Pair(*map(int, row)) for row in zip(clips, targets, references, strict=True)]

    def rows(self, model: DreamPosePipeline, pairs: list[Pair]) -> Batch:
        """Latents, conditions and references of pairs, float32."""
        rows = [self._row(model, *pair) for pair in pairs]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _row(self, model: DreamPosePipeline, clip: int, target: int, reference: int) -> Batch:
        def rows_of(name: str) -> np.ndarray:
            return np.load(self.folders[clip] / f"{name}.npy", mmap_mode="r")

        def one(name: str, index: int) -> Tensor:
            return torch.from_numpy(np.array(rows_of(name)[index])).float()[None]

        config = model.conditioning.config
        row = {
            "latents": one("latents", target),
            "reference_latents": one("latents", reference),
            "tokens": one("tokens", reference),
            "uv": window(rows_of("uv"), target, config.pose_window),
        }
        if config.parts:
            row["parts"] = one("parts", target)
        if config.warp:
            iuv = rows_of("iuv")
            picture = np.array(rows_of("frames")[reference])
            row |= warped_reference(model, picture, np.array(iuv[reference]), np.array(iuv[target]))
        return row


def read_info(encoded: Path) -> dict:
    """What `encode-clips` says of a folder. Raises InputError where it made none."""
    try:
        return json.loads((encoded / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{encoded} holds no encoded clips ({error})",
            "make it with: python -m dreampose_core encode-clips",
        ) from None


@torch.no_grad()
def validation(problem: DenoisingProblem, batch: Batch) -> dict[str, float]:
    """Mean loss over a batch, a few rows at a time on the problem's device."""
    device, total = problem.channel_weights.device, 0.0
    count = len(batch["latents"])
    for start in range(0, count, _AT_ONCE):
        part = {k: rows[start : start + _AT_ONCE].to(device) for k, rows in batch.items()}
        total += problem(part).item() * len(part["latents"])
    return {"validation": total / count}


@torch.no_grad()
def shown(model: DreamPosePipeline, rows: Batch) -> np.ndarray:
    """A sheet of pairs: the reference, the target as it is and as the model makes it."""
    device = model.unet.device
    model.to(device)
    pictures = []
    for index in range(len(rows["latents"])):
        row = {name: values[index : index + 1].to(device) for name, values in rows.items()}
        seen, latents, one = row["tokens"], row["reference_latents"], torch.ones(1, device=device)
        tokens = [model.mixed_tokens(seen, latents, keep) for keep in (one, 0 * one)]
        reference, target = to_frames(decode(model.vae, torch.cat([latents, row["latents"]])))
        condition = Condition(**{name: row[name] for name in CONDITION if name in row})
        looked = Reference(reference, np.zeros_like(reference), *tokens, latents)
        pictures.append([reference, target, *model(looked, condition, PREVIEW)])
    return sheet(pictures)


def finetune_base(
    base: Path,
    encoded: Path,
    out: Path,
    epochs: float,
    noise: NoiseSettings,
    min_snr: float,
    settings: TrainingSettings,
) -> None:
    """Finetune a base's UNet and adapter to encoded clips; write a whole model folder to `out`.

    `settings.steps` 0 trains `epochs` times as many targets as there are frames. `validation` of
    the curve is the loss of fixed pairs of the test clips with no condition dropped.
    """
    if read_info(encoded)["encoders"] != encoders_hash(base):
        raise InputError(f"{encoded} was made with another base", "encode the clips with this one")
    clips, held_out = (EncodedClips.open(encoded, part) for part in ("train", "test"))
    steps = settings.steps or math.ceil(epochs * clips.frames / settings.batch_size)
    if steps < 1:
        raise InputError(f"{steps} steps train nothing", "give --steps or --epochs above 0")
    settings = replace(settings, steps=steps)
    model = load(str(base))
    train_steps = model.scheduler.config.num_train_timesteps

    def drawn(clips: EncodedClips, count: int, noise: NoiseSettings, generator) -> Batch:
        rows = clips.rows(model, clips.draw(generator, count))
        return rows | draw_noise(generator, rows["latents"], train_steps, noise)

    def look() -> np.ndarray:
        watched = held_out if held_out.folders else clips
        pairs = watched.draw(step_generator(settings.seed, -2), _SHOWN_PAIRS)
        return shown(model, watched.rows(model, pairs))

    problem, evaluate = DenoisingProblem(model, min_snr=min_snr), None
    if held_out.folders:
        whole = replace(noise, dropout=0.0)
        fixed = drawn(held_out, _VALIDATION_PAIRS, whole, step_generator(settings.seed, -1))
        evaluate = partial(validation, problem, fixed)
    history = train(
        problem,
        partial(drawn, clips, settings.batch_size, noise),
        settings,
        resume_folder(out),
        label="finetune base",
        inputs={
            "base": folder_hash(base),
            "encoded": file_hash(encoded / INFO),
            "noise": str(noise),
            "min_snr": str(min_snr),
        },
        evaluate=evaluate,
        preview=Preview(previews_folder(out), look),
        activations=lambda fitted: unet_activations(model, fitted),
    )
    if first_process():
        _publish(model, history, {"settings": asdict(settings), "frames": clips.frames}, out)


def _publish(model: DreamPosePipeline, history: History, figures: dict, out: Path) -> None:
    with publish(out) as partial:
        model.save_pretrained(partial)
        write_curves(history, partial / "training")
        write_json(partial / "training" / "figures.json", figures | history[-1])
        take_previews(out, partial / "training")
