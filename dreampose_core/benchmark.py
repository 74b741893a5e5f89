"""The mannequin benchmark, first half: frames of every method at one task level.

A benchmark shard (`python -m mannequin dataset --motions …`) shows each subject in several
motions. The first clip gives the photos: one, or five evenly spaced. Every other clip gives poses
to be put into, and its frames are the truth. Levels:

* `zero-shot`: one photo, the model as it is;
* `one-photo`: the model finetuned to that photo;
* `five-frames`: finetuned to five photos, sampled from the first.

The folder that is made holds `NAME.npy` (S, M, T, H, W, 3) uint8 for each method and `methods.json`
with their names and settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.lib.format import open_memmap

from common.errors import InputError
from common.files import publish, remove, write_json
from common.progress import track
from common.settings import NoiseSettings, Sampling
from common.shards import Shard, open_shard
from common.training import Batch, TrainingSettings, resume_folder
from common.workers import in_processes
from dreampose_core.conditioning import Condition
from dreampose_core.faults import (
    ALL_FAULTS,
    SamplingFaults,
    faulty_frames,
    repeated_pose,
    target_is_reference,
)
from dreampose_core.finetune import train_on
from dreampose_core.measuring import one_thread
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline, Reference
from dreampose_core.pixels import decode, encode, to_frames, to_tensor
from dreampose_core.scene import change_scheduler
from dreampose_core.subject import Clip, encoded_pairs
from dreampose_core.warp import warp

Level = Literal["zero-shot", "one-photo", "five-frames"]
METHODS = "methods.json"
OURS, PUBLISHED, WARP, CEILING = "ours", "published", "surface-warp", "round-trip"
PHOTOS = {"zero-shot": 1, "one-photo": 1, "five-frames": 5}
NAMES = {
    "zero-shot": {
        "copy": "copy the photo",
        WARP: "surface warp",
        "extended-warp": "extended warp",
        "noised-reference": "ours, started from the noised reference",
        "range-mix-up": "ours, ranges mixed up",
        "stretch": "ours, frames stretched",
        PUBLISHED: "as published: all of these faults",
        OURS: "ours",
        CEILING: "autoencoder's round trip",
    },
    "one-photo": {
        "target-is-reference": "ours, trained on the reference as target",
        PUBLISHED: "as published: that, and the sampler's faults",
        OURS: "ours",
    },
    "five-frames": {
        "target-is-reference": "ours, trained on the reference as target",
        "repeated-pose": "ours, trained with one pose repeated",
        PUBLISHED: "as published: both, and the sampler's faults",
        OURS: "ours",
    },
}
"""What is compared at each level, from its slug to its name, in the order of the table."""

_SAMPLING_FAULTS = {
    "noised-reference": SamplingFaults(noised_reference=True),
    "range-mix-up": SamplingFaults(range_mix_up=True),
    "stretch": SamplingFaults(stretch=True),
    PUBLISHED: ALL_FAULTS,
}


@dataclass(frozen=True)
class Recipe:
    """How the model is finetuned and sampled."""

    sampling: Sampling
    scheduler: str
    training: TrainingSettings
    noise: NoiseSettings
    pairs: int = 24


@dataclass(frozen=True)
class _Job:
    """One subject at one level."""

    row: int
    model: Path
    data: Path
    folder: Path
    resume: Path
    level: Level
    methods: tuple[str, ...]
    recipe: Recipe


def benchmark(
    model: Path,
    data: Path,
    out: Path,
    level: Level,
    recipe: Recipe,
    methods: tuple[str, ...] = (),
    subjects: int = 0,
    workers: int | None = None,
) -> None:
    """Make the frames of the methods of `level` (all, or those named) into the folder `out`.

    The first `subjects` of the shard are used (0: all). Raises InputError at an unknown method
    and where the shard is not of the model's size.
    """
    methods = methods or tuple(NAMES[level])
    if unknown := [name for name in methods if name not in NAMES[level]]:
        raise InputError(
            f"the level {level} has no method {unknown[0]!r}",
            f"it has: {', '.join(NAMES[level])}",
        )
    shard = open_shard(data)
    config = load(str(model)).conditioning.config
    if shard.rgb.shape[3:5] != (config.height, config.width) or shard.shape[1] < 2:
        raise InputError(
            f"{data} has {shard.shape[1]} clips of {shard.rgb.shape[3:5]} a subject, the model "
            f"wants two or more of {(config.height, config.width)}",
            "make it with: python -m mannequin dataset --motions …",
        )
    count = min(subjects or shard.shape[0], shard.shape[0])
    shape = (count, shard.shape[1] - 1, *shard.rgb.shape[2:])
    with publish(out) as folder:
        folder.mkdir()
        for name in methods:
            open_memmap(folder / f"{name}.npy", "w+", np.uint8, shape)
        jobs = [
            _Job(row, model, data, folder, resume_folder(out), level, methods, recipe)
            for row in range(count)
        ]
        for _ in track(in_processes(_make_subject, jobs, workers), level, total=count):
            pass
        write_json(
            folder / METHODS,
            {
                "level": level,
                "names": {name: NAMES[level][name] for name in methods},
                "photos": photo_indices(shard, level),
                "data": shard.meta,
                "sampling": vars(recipe.sampling) | {"scheduler": recipe.scheduler},
                "training": asdict(recipe.training) if level != "zero-shot" else None,
                "noise": asdict(recipe.noise) if level != "zero-shot" else None,
            },
        )
    remove(resume_folder(out))


def photo_indices(shard: Shard, level: Level) -> list[int]:
    """Which frames of the first clip are the subject's photos."""
    return np.linspace(0, shard.shape[2] - 1, PHOTOS[level]).round().astype(int).tolist()


def _make_subject(job: _Job) -> None:
    """The frames of all methods of one subject, into its row of the arrays."""
    shard = open_shard(job.data)
    photos = photo_indices(shard, job.level)
    clip = Clip(*(np.array(part[job.row, 0, photos]) for part in (shard.rgb, shard.iuv)))
    truth, poses = (np.array(part[job.row, 1:]) for part in (shard.rgb, shard.iuv))
    with one_thread():
        subject = _Subject(job, clip, poses, truth)
        for name in job.methods:
            frames = open_memmap(job.folder / f"{name}.npy", "r+")
            frames[job.row] = subject.frames(name)
            frames.flush()


@dataclass
class _Subject:
    """One subject's photos, and the poses and truth (M, T, H, W, 3) of their motions."""

    job: _Job
    clip: Clip
    poses: np.ndarray
    truth: np.ndarray

    def __post_init__(self):
        self.model = self._loaded()
        self.reference, self.conditions = self._seen(self.model)

    def frames(self, name: str) -> np.ndarray:
        """A method's frames (M, T, H, W, 3)."""
        if self.job.level == "zero-shot":
            return np.stack([self._without_training(name, m) for m in range(len(self.poses))])
        model = self._trained(name)
        faults = ALL_FAULTS if name == PUBLISHED else SamplingFaults()
        reference, _ = self._seen(model, conditions=False)
        return np.stack(
            [
                faulty_frames(model, reference, condition, self.job.recipe.sampling, faults)
                for condition in self.conditions
            ]
        )

    def _without_training(self, name: str, motion: int) -> np.ndarray:
        photo, iuv = self.clip.frames[0], self.clip.iuv[0]
        poses, truth = self.poses[motion], self.truth[motion]
        simple: dict[str, Callable[[], np.ndarray]] = {
            "copy": lambda: np.repeat(photo[None], len(poses), 0),
            WARP: lambda: surface_warp(photo, iuv, poses),
            "extended-warp": lambda: extended_warp(photo, iuv, poses),
            CEILING: lambda: round_trip(self.model, truth),
        }
        if name in simple:
            return simple[name]()
        condition, sampling = self.conditions[motion], self.job.recipe.sampling
        if name == OURS:
            return self.model(self.reference, condition, sampling)
        return faulty_frames(
            self.model, self.reference, condition, sampling, _SAMPLING_FAULTS[name]
        )

    def _loaded(self) -> DreamPosePipeline:
        model, scheduler = load(str(self.job.model)), self.job.recipe.scheduler
        if scheduler != "base":
            model.scheduler = change_scheduler(model.scheduler, scheduler)
        return model

    def _seen(
        self, model: DreamPosePipeline, *, conditions: bool = True
    ) -> tuple[Reference, list[Condition]]:
        reference = model.look(self.clip.frames[0], self.clip.iuv[0])
        return reference, [model.pose(reference, poses) for poses in self.poses if conditions]

    def _trained(self, name: str) -> DreamPosePipeline:
        """The model finetuned to the photos as the method does it."""
        model, recipe = self._loaded(), self.job.recipe
        pool = training_pairs(model, self.clip, name, recipe.pairs, recipe.training.seed)
        resume = self.job.resume / f"{self.job.row}-{name}"
        train_on(model, pool, resume, recipe.training, noise=recipe.noise)
        return model


def training_pairs(model: DreamPosePipeline, clip: Clip, name: str, pairs: int, seed: int) -> Batch:
    """The pairs that a method finetunes on."""
    if name in ("target-is-reference", PUBLISHED):
        pool = target_is_reference(model, clip, pairs, seed)
    else:
        pool = encoded_pairs(model, clip, pairs, seed)
    return repeated_pose(pool) if name in ("repeated-pose", PUBLISHED) else pool


def surface_warp(photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """The photo's pixels through matching surface points, on the empty backdrop."""
    warped = warp(photo, iuv, poses)
    return np.where(poses[..., :1] > 0, warped.moved, warped.empty)


def extended_warp(photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """The warp together with what lies beside the body: what the model is given."""
    return warp(photo, iuv, poses).frames


@torch.no_grad()
def round_trip(model: DreamPosePipeline, frames: np.ndarray) -> np.ndarray:
    """True frames encoded and decoded."""
    return to_frames(decode(model.vae, encode(model.vae, to_tensor(frames))))
