"""All figures of a clip of frames, one frame in memory at a time.

What stands beside it decides what can be said: true frames, the poses that were asked for, poses
estimated from the result, the subject's picture. A figure that cannot be measured is None;
nothing is made up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
import torch

from common import pose_error
from common.errors import InputError
from common.images import Size, read_png
from common.poses import read_iuv
from common.progress import track
from dreampose_core import identity, metrics, perceptual
from dreampose_core.drift import Drift
from dreampose_core.motion import motion, warped_difference

_BATCH = 8


@dataclass(frozen=True)
class Compared:
    """A result's pictures and what stands beside them, frame by frame; None is not there.

    Poses, asked for and estimated, have the result's size and one chart; `subject` is a picture
    with its IUV of any one size. `unmeasured` says why what is not there is not.
    """

    size: Size
    result: Sequence[Path]
    truth: Sequence[Path] | None = None
    poses: Sequence[Path] | None = None
    estimated: Sequence[Path] | None = None
    subject: tuple[Path, Path] | None = None
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    def true_frame(self, index: int) -> np.ndarray:
        """True frame in the result's size."""
        image = read_png(self.truth[index])
        if image.shape[:2] == self.size:
            return image
        return cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)

    def pairs(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Made and true frames (B, H, W, 3) uint8."""
        return (
            np.stack([read_png(self.result[i]) for i in indices]),
            np.stack([self.true_frame(i) for i in indices]),
        )


@dataclass(frozen=True)
class Extras:
    """Which figures of `dreampose_core.perceptual` are wanted too; all need true frames."""

    lpips: bool = False
    fid: bool = False
    fvd: Path | None = None


NO_EXTRAS = Extras()


@dataclass
class _Steadiness:
    """What changes from frame to frame in one clip."""

    flicker: list[float] = field(default_factory=list)
    colour: list[float] = field(default_factory=list)
    warped: list[float] = field(default_factory=list)

    def add(self, frames: np.ndarray, still: np.ndarray | None, flow: tuple) -> None:
        """Two frames (2, H, W, 3), their background (2, H, W), the motion between them."""
        if still is not None:
            self.flicker.append(metrics.flicker(frames, still))
            self.colour.append(metrics.colour_flicker(frames, still))
        self.warped.append(warped_difference(*frames, *flow))

    def means(self) -> dict[str, float | None]:
        return {
            "flicker": mean(self.flicker),
            "colour_flicker": mean(self.colour),
            "warped_difference": mean(self.warped),
        }


def measure(clip: Compared, extras: Extras = NO_EXTRAS) -> dict[str, Any]:
    """The figures of `metrics.json`.

    "person" figures are taken inside the dilated person of the poses, flicker outside; the warped
    difference follows the motion of the true frames, or of the result where there are none.
    """
    rows, made, true = [], _Steadiness(), _Steadiness()
    poses, change, true_change = pose_error.NO_PIXELS, identity.NO_CHANGE, identity.NO_CHANGE
    own, drift = _own_colours(clip), Drift(len(clip.result))
    before = None
    for index in track(range(len(clip.result)), "evaluate"):
        frames = read_png(clip.result[index])[None]
        if clip.truth:
            frames = np.stack([frames[0], clip.true_frame(index)])
        asked = read_iuv(clip.poses[index]) if clip.poses else None
        person = dilated(asked[..., 0] > 0) if asked is not None else None
        if asked is not None:
            drift.add(frames[0], asked)
        if before is not None:
            flow = motion(before[0][-1], frames[-1])
            still = None if person is None else ~np.stack([before[1], person])
            made.add(np.stack([before[0][0], frames[0]]), still, flow)
            if clip.truth:
                true.add(np.stack([before[0][1], frames[1]]), still, flow)
        before = frames, person
        if clip.truth:
            rows.append({"frame": index, **_compare(*frames, person)})
        if clip.estimated and asked is not None:
            poses += pose_error.pose_error(read_iuv(clip.estimated[index]), asked)
        if own and asked is not None:
            change += identity.colour_change(own, identity.surface_colours(frames[0], asked))
            if clip.truth:
                seen = identity.surface_colours(frames[1], asked)
                true_change += identity.colour_change(own, seen)
    report = {
        "frames": len(clip.result),
        "size": list(clip.size),
        **made.means(),
        "drift": drift.figures() if clip.poses else None,
        "truth": None,
        "pose": _pose(poses) if clip.estimated and clip.poses else None,
        "identity": _known(identity.summary(change)) if own and clip.poses else None,
        "extras": _extras(clip, extras),
        "unmeasured": dict(clip.unmeasured),
        "per_frame": rows,
    }
    if clip.truth:
        report["truth"] = {
            **_overall(clip, rows),
            **true.means(),
            "identity": _known(identity.summary(true_change)) if own and clip.poses else None,
        }
    return report


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums that do not depend on the number of cores; small pictures gain nothing from more."""
    threads, searching = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(searching)


def dilated(mask: np.ndarray) -> np.ndarray:
    """A mask grown by a thirty-second of the picture's height."""
    reach = max(1, mask.shape[0] // 32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are known, to five places."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return _rounded(fmean(known)) if known else None


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def _known(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in figures.items()}


def _own_colours(clip: Compared) -> identity.SurfaceColours | None:
    if clip.subject is None:
        return None
    picture, iuv = clip.subject
    return identity.surface_colours(read_png(picture), read_iuv(iuv))


def _compare(
    image: np.ndarray, truth: np.ndarray, person: np.ndarray | None
) -> dict[str, float | None]:
    figures = {
        "l1": metrics.l1(image, truth),
        "psnr": metrics.psnr(image, truth),
        "ssim": metrics.ssim(image, truth),
    }
    if person is not None:
        figures["person_psnr"] = metrics.masked_psnr(image, truth, person)
        figures["person_ssim"] = metrics.masked_ssim(image, truth, person)
    return _known(figures)


def _overall(clip: Compared, rows: list[dict[str, Any]]) -> dict[str, Any]:
    size = list(read_png(clip.truth[0]).shape[:2])
    means = {name: mean([row[name] for row in rows]) for name in rows[0] if name != "frame"}
    return {"size": size, "resized": size != list(clip.size), **means}


def _pose(error: pose_error.PoseError) -> dict[str, Any]:
    parts = pose_error.part_iou(error.counts)
    per_part = {str(number): _rounded(float(iou)) for number, iou in enumerate(parts, 1)}
    return {**_known(pose_error.summary(error)), "per_part": per_part}


def _extras(clip: Compared, extras: Extras) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    every = range(len(clip.result))
    if extras != NO_EXTRAS and clip.truth is None:
        raise InputError("LPIPS, FID and FVD compare with true frames", "give --truth")
    batches = [every[start : start + _BATCH] for start in every[::_BATCH]]
    if extras.lpips:
        wanted["lpips"] = perceptual.lpips(clip.pairs(some) for some in batches)
    if extras.fid:
        wanted["fid"] = perceptual.fid(clip.pairs(some) for some in batches)
    if extras.fvd:
        starts = range(0, len(every) - perceptual.WINDOW + 1, perceptual.STRIDE)
        windows = (clip.pairs(every[at : at + perceptual.WINDOW]) for at in starts)
        wanted["fvd"] = perceptual.fvd(windows, extras.fvd)
    return wanted
