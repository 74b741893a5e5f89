"""The reformat stage: a dump to a poses folder, one person followed through the clip."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from common import frames as frames_format
from common.errors import InputError
from common.files import publish
from common.frames import frame_paths
from common.images import Size
from common.poses import Box, FramePose, PosesInfo, write_poses
from common.words import spans_of
from densepose_prep.crop import clip_crop
from densepose_prep.dump import Detections, read_dump
from densepose_prep.filling import between, box_between
from densepose_prep.pasting import iuv_image
from densepose_prep.preview import write_previews
from densepose_prep.smoothing import smoothed, smoothed_box, window
from densepose_prep.tracking import Choice, follow

_KEPT = 8
"""Frames kept in memory: a gap's ends, and the window of smoothing."""


def in_order(images: Sequence[Detections]) -> list[Detections]:
    """The images by the last number in their file names; a dump is in directory order.

    Raises ValueError where a name has no number, or two have the same.
    """
    numbered = {}
    for image in images:
        numbers = re.findall(r"\d+", Path(image.file_name).stem)
        if not numbers:
            raise ValueError(f"the name {image.file_name} has no frame number")
        if int(numbers[-1]) in numbered:
            raise ValueError(f"two images have the number {int(numbers[-1])}")
        numbered[int(numbers[-1])] = image
    return [numbered[number] for number in sorted(numbered)]


class Clip:
    """The IUV images of one person through a clip, made as they are asked for, gaps filled.

    `chosen` is the person's index in each image's detections, None in a gap.
    """

    def __init__(self, images: Sequence[Detections], chosen: Sequence[int | None], size: Size):
        self.images, self.chosen, self.size = images, chosen, size
        self.seen = [index for index, found in enumerate(chosen) if found is not None]
        self.frames = [self._frame(index) for index in range(len(chosen))]
        self.iuv = lru_cache(_KEPT)(self._iuv)

    def neighbours(self, index: int) -> tuple[int, int, float]:
        """The seen frames around a gap's frame and its share of the way; at an end, one twice."""
        after = bisect(self.seen, index)
        first, second = self.seen[max(0, after - 1)], self.seen[min(after, len(self.seen) - 1)]
        return first, second, (index - first) / (second - first) if first < second else 0.0

    def _box(self, index: int) -> Box:
        return tuple(float(value) for value in self.images[index].boxes[self.chosen[index]])

    def _frame(self, index: int) -> FramePose:
        if self.chosen[index] is not None:
            score = float(self.images[index].scores[self.chosen[index]])
            return FramePose(self._box(index), score)
        first, second, share = self.neighbours(index)
        return FramePose(box_between(self._box(first), self._box(second), share), 0.0, filled=True)

    def _iuv(self, index: int) -> np.ndarray:
        if self.chosen[index] is not None:
            return iuv_image(self.images[index], self.chosen[index], self.size)
        first, second, share = self.neighbours(index)
        if first == second:
            return self.iuv(first)
        boxes = self._box(first), self._box(second)
        return between(self.iuv(first), self.iuv(second), *boxes, share)

    def smoothed(self, index: int) -> np.ndarray:
        """A frame's IUV image, calmed by the frames around it."""
        around = window(index, len(self.frames))
        return smoothed([self.iuv(i) for i in around], [self.frames[i].box for i in around])

    def smoothed_frames(self) -> list[FramePose]:
        """The frames with their boxes calmed as well."""
        windows = [window(index, len(self.frames)) for index in range(len(self.frames))]
        boxes = [smoothed_box([self.frames[i].box for i in around]) for around in windows]
        return [replace(frame, box=box) for frame, box in zip(self.frames, boxes, strict=True)]


def matched(
    images: Sequence[Detections], count: int, size: Size, dump: Path, frames: Path
) -> list[Detections]:
    """The dump's images in the order of the frames. Raises InputError where they do not fit."""
    remedy = f"make the dump from {frames}"
    try:
        ordered = in_order(images)
    except ValueError as error:
        raise InputError(f"{dump} cannot be put in order: {error}", remedy) from None
    if len(ordered) != count:
        raise InputError(f"{dump} has {len(ordered)} images for {count} frames", remedy)
    for image in ordered:
        if len(image.boxes) and (image.boxes.amax(0)[2:] > torch.tensor(size[::-1]) + 1).any():
            raise InputError(
                f"{dump} has a box outside the {size[1]}×{size[0]} frame {image.file_name}", remedy
            )
    return ordered


def reformat(
    dump: Path,
    frames: Path,
    out: Path,
    person: Choice = "largest",
    most_missing: float = 0.25,
    smooth: bool = False,
    previews: Path | None = None,
) -> None:
    """Write the poses folder of a dump: one person, gaps filled from their neighbours and flagged.

    Raises InputError where the dump is not of these frames, or where the person is missing in a
    larger share of them than `most_missing`.
    """
    images, origin = read_dump(dump)
    info = frames_format.read_info(frames)
    ordered = matched(images, len(frame_paths(frames)), info.size, dump, frames)
    boxes = [image.boxes.numpy() for image in ordered]
    chosen = follow(boxes, [image.scores.numpy() for image in ordered], person, info.size)
    missing = [index for index, found in enumerate(chosen) if found is None]
    if len(missing) > most_missing * len(chosen) or len(missing) == len(chosen):
        raise InputError(
            f"no person found in {len(missing)} of {len(chosen)} frames of {frames} "
            f"({spans_of(missing)})",
            "use a picture or clip of one whole person on a plain background, "
            "cut it with --start and --end, or allow more with --most-missing",
        )
    clip = Clip(ordered, chosen, info.size)
    show, found = (clip.smoothed, clip.smoothed_frames()) if smooth else (clip.iuv, clip.frames)
    poses = PosesInfo(
        chart=origin.chart,
        backend=origin.backend,
        weights=origin.weights,
        fps=info.fps,
        crop=clip_crop([frame.box for frame in found], info.size),
        frames=found,
    )
    with publish(out) as partial:
        write_poses(partial, map(show, range(len(chosen))), poses)
    if previews:
        write_previews(previews, frames, out)
