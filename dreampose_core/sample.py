"""The sample stage: a subject's picture and a render's poses to a samples (frames) folder.

A killed run goes on at the batch where it stopped: finished frames wait in the partial folder,
beside a fingerprint of everything that decided them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
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

from common import frames as frames_format
from common import poses as poses_format
from common.errors import InputError
from common.files import folder_hash, publish, remove, write_json
from common.frames import FramesInfo, frame_name, frame_paths
from common.images import read_png, write_png
from common.poses import pose_paths, read_iuv, require_chart
from common.progress import Progress
from common.settings import Sampling
from dreampose_core.conditioning import rows
from dreampose_core.framing import Canvas, model_fit, union
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline

SCHEDULERS: dict[str, type[SchedulerMixin]] = {
    "ddim": DDIMScheduler,
    "pndm": PNDMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}
PARAMETERS, FINGERPRINT = "samples.json", "fingerprint.json"


def load_subject(base: Path, unet: Path | None, vae: Path | None) -> DreamPosePipeline:
    """The base with a subject's changed components in place of its own."""
    model = load(str(base))
    for folder, names in ((unet, ("unet", "adapter")), (vae, ("vae",))):
        for name in names:
            if folder and (folder / name).is_dir():
                component = type(getattr(model, name)).from_pretrained(folder / name)
                model.register_modules(**{name: component})
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def change_scheduler(own: SchedulerMixin, name: str) -> SchedulerMixin:
    """The scheduler of that name with the noise levels of the model's own.

    Latents are not clipped to [−1, 1], as DDIM's default for pixels would where `own` is silent.
    """
    return SCHEDULERS[name].from_config({"clip_sample": False, **own.config})


def sample(
    base: Path,
    unet: Path | None,
    vae: Path | None,
    frames: Path,
    subject_poses: Path,
    poses: Path,
    out: Path,
    settings: Sampling,
    scheduler: str,
    batch_size: int,
) -> None:
    """Render the subject (first frame of `frames`) in `poses`, in the subject's framing.

    Raises InputError for mixed charts and for poses that are not in the subject's frame.
    """
    model = load_subject(base, unet, vae)
    if scheduler != "base":
        model.scheduler = change_scheduler(model.scheduler, scheduler)
    config = model.conditioning.config
    info, subject_info = poses_format.read_info(poses), poses_format.read_info(subject_poses)
    require_chart(info.chart, config.chart, str(poses))
    require_chart(subject_info.chart, config.chart, str(subject_poses))
    picture = read_png(frame_paths(frames)[0])
    if info.size != picture.shape[:2]:
        raise InputError(
            f"{poses} is {info.size}, the subject's frame {picture.shape[:2]}",
            "bring the poses into the subject's frame: python -m densepose_prep retarget",
        )
    fit = model_fit(info.size, (config.height, config.width), union(subject_info.crop, info.crop))
    canvas = Canvas(picture, fit)
    reference = model.look(
        fit.apply(picture), fit.apply(read_iuv(pose_paths(subject_poses)[0]), labels=True)
    )
    pose_files = pose_paths(poses)
    count = len(pose_files)

    given = {
        "base": base,
        "unet": unet,
        "vae": vae,
        "frames": frames,
        "subject_poses": subject_poses,
        "poses": poses,
    }
    origin = {
        "parameters": {**asdict(settings), "scheduler": scheduler, "batch_size": batch_size},
        "crop": list(fit.crop),
        "inputs": {name: folder_hash(path) for name, path in given.items() if path},
    }
    with publish(out, keep_partial=True) as partial, Progress("sampling", count) as progress:
        _continue_or_clear(partial, origin)
        for start in range(0, count, batch_size):
            stop = min(start + batch_size, count)
            paths = [partial / frame_name(i) for i in range(start, stop)]
            if not all(path.exists() for path in paths):
                first = max(0, start - config.pose_window // 2)
                near = pose_files[first : stop + config.pose_window // 2]
                iuvs = np.stack([fit.apply(read_iuv(path), labels=True) for path in near])
                batch = slice(start - first, stop - first)
                pose = rows(model.conditioning.pose(iuvs), batch)
                condition = model.condition(reference, pose, iuvs[batch])
                for path, frame in zip(paths, model(reference, condition, settings), strict=True):
                    write_png(path.with_suffix(".tmp"), canvas.put(frame))
                    os.replace(path.with_suffix(".tmp"), path)
            progress.advance(len(paths))
        made = FramesInfo(info.fps, picture.shape[:2], count)
        write_json(partial / frames_format.INFO, asdict(made))
        write_json(partial / PARAMETERS, origin)
        (partial / FINGERPRINT).unlink()


def _continue_or_clear(partial: Path, origin: dict) -> None:
    """Keep an earlier run's frames only where everything that decided them is the same."""
    key = partial / FINGERPRINT
    try:
        same = json.loads(key.read_text()) == json.loads(json.dumps(origin))
    except (OSError, ValueError):
        same = False
    if not same:
        remove(partial)
        partial.mkdir()
        write_json(key, origin)
    for half in partial.glob("*.tmp"):
        half.unlink()
