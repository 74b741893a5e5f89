"""Filled gaps beside the clip's own change, and what smoothing gives: `python bench/gaps.py`.

Mannequin clips with exact IUV lose a random 20 % of their detections. The error of an IUV image
is, over the pixels that are body in it or in the truth, the mean of 1 where the part is wrong and
else |ΔU| + |ΔV|. The unit is the clip's median error of one frame taken for the next.
Smoothing is measured on what the backend `mini` says of noisy frames: the error on moving clips
shows what it loses, the change between equal frames with other noise is jitter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from common.poses import part_box
from densepose_prep.dump import ChartResult, Detections
from densepose_prep.filling import vote
from densepose_prep.mini import MiniBackend
from densepose_prep.reformat import Clip
from mannequin.motion import sample_motion
from mannequin.render import render_clip
from mannequin.split import TEST, VALIDATION, Split
from mannequin.subject import sample_subject

SIZE = (160, 128)
REMOVED = 0.2
WEIGHTS = Path(__file__).parents[1] / "weights/mini/iuv"


def error(iuv: np.ndarray, truth: np.ndarray) -> float:
    """Mean over body pixels of 1 where the part is wrong, else |ΔU| + |ΔV|."""
    body = (iuv[..., 0] > 0) | (truth[..., 0] > 0)
    apart = np.abs(iuv[..., 1:].astype(float) - truth[..., 1:]).sum(-1) / 255
    return float(np.where(iuv[..., 0] != truth[..., 0], 1, apart)[body].mean())


def rendered(split: Split, index: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB and IUV (T, H, W, 3) of a moving clip of the split."""
    family = split.families[index % len(split.families)]
    subject = sample_subject(split.subjects[index])
    motion = sample_motion(family, split.motions[index])
    return render_clip(subject, motion, height=SIZE[0], width=SIZE[1])


def detection(iuv: np.ndarray) -> Detections:
    """An IUV image as a detector's sure answer."""
    x0, y0, x1, y1 = (int(side) for side in part_box(iuv))
    cut = torch.from_numpy(iuv[y0:y1, x0:x1].astype(np.int64))
    result = ChartResult(cut[..., 0], cut[..., 1:].permute(2, 0, 1) / 255)
    return Detections("", torch.ones(1), torch.tensor([[x0, y0, x1, y1]]).float(), [result])


def nearest(clip: Clip, index: int) -> np.ndarray:
    """The seen frame that is closest in time."""
    first, second, share = clip.neighbours(index)
    return clip.iuv(first if share <= 0.5 else second)


FILLS: dict[str, Callable[[Clip, int], np.ndarray]] = {
    "the nearest frame": nearest,
    "filled": lambda clip, index: clip.iuv(index),
}


def gaps(truth: np.ndarray, seed: int) -> tuple[float, dict[str, list[float]]]:
    """The clip's median change, and each way's errors of the frames that were removed."""
    removed = np.random.default_rng(seed).permutation(len(truth))[: round(REMOVED * len(truth))]
    chosen = [None if index in removed else 0 for index in range(len(truth))]
    clip = Clip([detection(iuv) for iuv in truth], chosen, truth.shape[1:3])
    change = np.median([error(a, b) for a, b in pairwise(truth)])
    errors = {
        name: [error(fill(clip, index), truth[index]) for index in removed]
        for name, fill in FILLS.items()
    }
    return float(change), errors


def seen(backend: MiniBackend, frames: Sequence[np.ndarray], noise: float, seed: int) -> Clip:
    """What the backend says of frames with Gaussian noise of that deviation."""
    random = np.random.default_rng(seed)

    def noisy() -> Iterator[tuple[str, np.ndarray]]:
        for index, frame in enumerate(frames):
            spoilt = frame + random.normal(0, noise, frame.shape)
            yield f"{index}.png", spoilt.clip(0, 255).astype(np.uint8)

    found = list(backend.detect(noisy()))
    return Clip(found, [0 if image.results else None for image in found], frames[0].shape[:2])


def plain(clip: Clip, index: int) -> np.ndarray:
    """The vote of five frames as they are."""
    return vote([clip.iuv(i) for i in range(index - 2, index + 3)], [1, 2, 3, 2, 1])


CALMS: dict[str, Callable[[Clip, int], np.ndarray]] = {
    "as it is": lambda clip, index: clip.iuv(index),
    "five frames as they are": plain,
    "smoothed": lambda clip, index: clip.smoothed(index),
}


def smoothing(clips: Sequence[tuple[np.ndarray, np.ndarray]], noise: float) -> None:
    """Print each way's error on moving clips and its change between equal frames."""
    backend = MiniBackend(WEIGHTS)
    moving = [seen(backend, rgb, noise, seed) for seed, (rgb, _) in enumerate(clips)]
    still = [seen(backend, [rgb[20]] * 9, noise, seed) for seed, (rgb, _) in enumerate(clips)]
    for name, calm in CALMS.items():
        errors = [
            error(calm(clip, index), truth[index])
            for clip, (_, truth) in zip(moving, clips, strict=True)
            for index in range(2, len(truth) - 2)
        ]
        jitter = [
            error(calm(clip, index), calm(clip, index + 1)) for clip in still for index in (2, 4, 5)
        ]
        print(f"noise {noise:4.0f}  {name:24} {np.mean(errors):.4f}  jitter {np.mean(jitter):.4f}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    arguments = parser.parse_args()
    split = {"validation": VALIDATION, "test": TEST}[arguments.split]
    clips = [rendered(split, index) for index in range(arguments.clips)]
    pooled: dict[str, list[float]] = {name: [] for name in FILLS}
    for index, (_, truth) in enumerate(clips):
        change, errors = gaps(truth, index)
        for name in FILLS:
            pooled[name] += [value / change for value in errors[name]]
        figures = "  ".join(f"{name} {np.mean(errors[name]):.4f}" for name in FILLS)
        print(f"clip {index:2}  median change {change:.4f}  {figures}", flush=True)
    for name, values in pooled.items():
        print(f"{name}: {np.mean(values):.3f} of the median change over {len(values)} frames")
    for noise in (6, 25):
        smoothing(clips[:4], noise)


if __name__ == "__main__":
    main()
