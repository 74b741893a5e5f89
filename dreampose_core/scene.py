"""What sampling begins with: a subject's model, its picture, and poses in the picture's frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from common import poses as poses_format
from common.errors import InputError
from common.files import folder_hash
from common.frames import frame_paths
from common.images import read_png
from common.poses import pose_paths, read_iuv, require_chart
from dreampose_core.conditioning import Condition, rows
from dreampose_core.framing import Canvas, Fit, model_fit, union
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline, Reference

SCHEDULERS: dict[str, type[SchedulerMixin]] = {
    "ddim": DDIMScheduler,
    "pndm": PNDMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}


@dataclass(frozen=True)
class Inputs:
    """The folders of a render, as stages name them."""

    base: Path
    unet: Path | None
    """folder of finetune-unet"""
    vae: Path | None
    """folder of finetune-vae"""
    frames: Path
    """the subject's frames folder; the first frame is the reference"""
    subject_poses: Path
    poses: Path
    """the render's poses, in the subject's frame (retarget)"""

    def hashes(self) -> dict[str, str]:
        """The bytes of every folder that is given, by its name."""
        return {name: folder_hash(path) for name, path in vars(self).items() if path}


def load_subject(
    base: Path, unet: Path | None, vae: Path | None, *, half: bool = False
) -> DreamPosePipeline:
    """The base with a subject's changed components in place of its own.

    It goes to the GPU where there is one, with `half` in float16.
    """
    model = load(str(base))
    for folder, names in ((unet, ("unet", "adapter")), (vae, ("vae",))):
        for name in names:
            if folder and (folder / name).is_dir():
                component = type(getattr(model, name)).from_pretrained(folder / name)
                model.register_modules(**{name: component})
    if torch.cuda.is_available():
        model.to("cuda", torch.float16 if half else torch.float32)
    return model


def change_scheduler(own: SchedulerMixin, name: str) -> SchedulerMixin:
    """The scheduler of that name with the noise levels of the model's own.

    Latents are not clipped to [−1, 1], as DDIM's default for pixels would where `own` is silent.
    """
    return SCHEDULERS[name].from_config({"clip_sample": False, **own.config})


@dataclass(frozen=True)
class Scene:
    """A subject ready to be sampled in a clip's poses."""

    model: DreamPosePipeline
    canvas: Canvas
    fit: Fit
    reference: Reference
    poses: list[Path]
    fps: str

    @classmethod
    def open(cls, given: Inputs, scheduler: str = "base", *, half: bool = False) -> Scene:
        """Load and look at what is given; `scheduler` "base" keeps the model's own.

        Raises InputError for mixed charts and for poses that are not in the subject's frame.
        """
        model = load_subject(given.base, given.unet, given.vae, half=half)
        if scheduler != "base":
            model.scheduler = change_scheduler(model.scheduler, scheduler)
        config = model.conditioning.config
        info = poses_format.read_info(given.poses)
        subject_info = poses_format.read_info(given.subject_poses)
        require_chart(info.chart, config.chart, str(given.poses))
        require_chart(subject_info.chart, config.chart, str(given.subject_poses))
        picture = read_png(frame_paths(given.frames)[0])
        if info.size != picture.shape[:2]:
            raise InputError(
                f"{given.poses} is {info.size}, the subject's frame {picture.shape[:2]}",
                "bring the poses into the subject's frame: python -m densepose_prep retarget",
            )
        crop = union(subject_info.crop, info.crop)
        fit = model_fit(info.size, (config.height, config.width), crop)
        iuv = fit.apply(read_iuv(pose_paths(given.subject_poses)[0]), labels=True)
        reference = model.look(fit.apply(picture), iuv)
        poses = pose_paths(given.poses)
        return cls(model, Canvas(picture, fit), fit, reference, poses, info.fps)

    def condition(self, start: int, stop: int) -> Condition:
        """The conditions of the frames from `start` to `stop`, their pose windows whole."""
        reach = self.model.conditioning.config.pose_window // 2
        first = max(0, start - reach)
        near = self.poses[first : stop + reach]
        iuvs = np.stack([self.fit.apply(read_iuv(path), labels=True) for path in near])
        batch = slice(start - first, stop - first)
        pose = rows(self.model.conditioning.pose(iuvs), batch)
        return self.model.condition(self.reference, pose, iuvs[batch])
