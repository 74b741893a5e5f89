"""A subject's frames as training data: pairs of a reference and a target, encoded once.

With several frames the target is never the reference itself (the published code trains on that
and ghosts). With one photo both are the photo, each shifted and scaled a little differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from common import frames as frames_format
from common import poses as poses_format
from common.errors import InputError
from common.frames import frame_paths
from common.images import read_png
from common.poses import pose_paths, read_iuv, require_chart
from common.training import Batch
from dreampose_core.framing import model_fit
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import clip_pixels, encode, to_tensor
from dreampose_core.posemaps import window_indices
from dreampose_core.warp import warp

_SCALE, _SHIFT = (0.9, 1.12), 0.04


@dataclass(frozen=True)
class Pictures:
    """Pictures on disk, each read and fitted to the model's size when it is asked for."""

    paths: Sequence[Path]
    read: Callable[[Path], np.ndarray]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.read(self.paths[index])


@dataclass(frozen=True)
class Clip:
    """T frames and IUV images uint8 (H, W, 3) at the model's size, in memory or on disk."""

    frames: np.ndarray | Pictures
    iuv: np.ndarray | Pictures


def read_clip(model: DreamPosePipeline, frames: Path, poses: Path) -> Clip:
    """A subject's frames and poses at the model's size. Raises InputError where they differ."""
    info, pose_info = frames_format.read_info(frames), poses_format.read_info(poses)
    config = model.conditioning.config
    require_chart(pose_info.chart, config.chart, str(poses))
    if info.count != len(pose_info.frames) or info.size != pose_info.size:
        raise InputError(
            f"{frames} has {info.count} frames of {info.size}, {poses} {len(pose_info.frames)} "
            f"of {pose_info.size}",
            "make the poses from these frames",
        )
    fit = model_fit(info.size, (config.height, config.width), pose_info.crop)
    return Clip(
        Pictures(frame_paths(frames), lambda path: fit.apply(read_png(path))),
        Pictures(pose_paths(poses), lambda path: fit.apply(read_iuv(path), labels=True)),
    )


def jittered(frame: np.ndarray, iuv: np.ndarray, random: np.random.Generator) -> tuple:
    """Frame and IUV scaled and shifted alike by a random little."""
    height, width = iuv.shape[:2]
    scale = random.uniform(*_SCALE)
    dx, dy = random.uniform(-_SHIFT, _SHIFT, 2) * height
    matrix = np.float32(
        [
            [scale, 0, (1 - scale) * width / 2 + dx],
            [0, scale, (1 - scale) * height / 2 + dy],
        ]
    )
    moved = cv2.warpAffine(
        frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    labels = cv2.warpAffine(iuv, matrix, (width, height), flags=cv2.INTER_NEAREST)
    return moved, labels


@torch.no_grad()
def warped_reference(
    model: DreamPosePipeline, picture: np.ndarray, iuv: np.ndarray, target_iuv: np.ndarray
) -> Batch:
    """What a model with a warp sees of a pair beside the poses: one row; else nothing.

    The reference's picture and IUV and the target's IUV are uint8 (H, W, 3).
    """
    if not model.conditioning.config.warp:
        return {}
    moved = warp(picture, iuv, [target_iuv])
    latents = encode(model.vae, to_tensor(moved.frames).to(model.vae.device)).cpu()
    return {"warped": latents, "classes": model.conditioning.class_maps(moved.shares)}


@torch.no_grad()
def encoded_pairs(model: DreamPosePipeline, clip: Clip, count: int, seed: int) -> Batch:
    """`count` training pairs as tensors: target latents, conditions, reference."""
    random = np.random.default_rng(seed)
    several = len(clip.frames) > 1
    around = window_indices(len(clip.iuv), model.conditioning.config.pose_window)
    middle = around.shape[1] // 2
    rows: list[Batch] = []
    side = model.image_encoder.config.image_size
    for _ in range(count):
        target = int(random.integers(len(clip.frames)))
        if several:
            reference = int((target + random.integers(1, len(clip.frames))) % len(clip.frames))
            picture, iuv = clip.frames[reference], clip.iuv[reference]
            frame, frame_iuv = clip.frames[target], clip.iuv[target]
            near = np.stack([clip.iuv[int(i)] for i in around[target]])
            condition = model.conditioning.pose(near).map(lambda v: v[middle : middle + 1])
        else:
            picture, iuv = jittered(clip.frames[0], clip.iuv[0], random)
            frame, frame_iuv = jittered(clip.frames[0], clip.iuv[0], random)
            condition = model.conditioning.pose(frame_iuv[None])
        pixels = to_tensor(np.stack([frame, picture]))
        latents = encode(model.vae, pixels)
        row = {
            "latents": latents[:1],
            "reference_latents": latents[1:],
            "tokens": model.image_encoder(clip_pixels(pixels[1:], side)).last_hidden_state,
            "uv": condition.uv,
        }
        if condition.parts is not None:
            row["parts"] = condition.parts
        rows.append(row | warped_reference(model, picture, iuv, frame_iuv))
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
