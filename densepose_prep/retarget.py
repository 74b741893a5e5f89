"""The retarget stage: driving poses into the subject's frame.

The driving person may stand elsewhere or be taller than the subject: scale and position are
matched (standing height, line of the feet, middle), so that the video keeps the subject's size
and framing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from common.errors import InputError
from common.files import publish
from common.images import Fit, Size
from common.poses import (
    Box,
    FramePose,
    part_box,
    pose_paths,
    read_info,
    read_iuv,
    require_chart,
    write_poses,
)
from densepose_prep.reformat import clip_crop


@dataclass(frozen=True)
class Stance:
    """How a person stands in a clip, in pixels: height, the feet's line, the middle's column."""

    height: float
    feet: float
    middle: float


def stance(boxes: Sequence[Box]) -> Stance:
    """The stance of a clip's boxes: medians, the height's over the tallest third of the frames."""
    x0, y0, x1, y1 = np.array(boxes).T
    heights = np.sort(y1 - y0)
    tall = heights[-max(1, len(heights) // 3) :]
    return Stance(float(np.median(tall)), float(np.median(y1)), float(np.median((x0 + x1) / 2)))


def alignment(driving: Stance, subject: Stance) -> np.ndarray:
    """Affine matrix (2, 3) that brings the driving stance to the subject's."""
    scale = subject.height / driving.height
    return np.array(
        [
            [scale, 0, subject.middle - scale * driving.middle],
            [0, scale, subject.feet - scale * driving.feet],
        ]
    )


def letterbox(source: Size, size: Size) -> np.ndarray:
    """Affine matrix (2, 3) of the whole source picture fitted into the middle of `size`."""
    x0, y0, x1, y1 = Fit.whole(source, size).inner
    scale_x, scale_y = (x1 - x0) / source[1], (y1 - y0) / source[0]
    return np.array([[scale_x, 0, x0], [0, scale_y, y0]])


def moved(iuv: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """An IUV image moved by an affine matrix of pixel edges, nearest pixels only."""
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(iuv, centred, (size[1], size[0]), flags=cv2.INTER_NEAREST)


def retarget(poses: Path, subject: Path, out: Path, mode: str) -> None:
    """Write the render's poses folder, of the subject's frame size.

    Raises InputError for mixed charts and where the moved person leaves the frame entirely.
    """
    driving_info, subject_info = read_info(poses), read_info(subject)
    require_chart(driving_info.chart, subject_info.chart, str(poses))
    size = subject_info.size
    if mode == "align":
        boxes = [frame.box for frame in driving_info.frames if frame.box]
        matrix = alignment(stance(boxes), stance([subject_info.frames[0].box]))
    else:
        matrix = letterbox(driving_info.size, size)
    iuvs = [moved(read_iuv(path), matrix, size) for path in pose_paths(poses)]
    boxes = [part_box(iuv) for iuv in iuvs]
    if not any(boxes):
        raise InputError(
            f"the person of {poses} lies outside the subject's frame",
            "use --mode align, or a subject's picture with more room",
        )
    frames = [
        FramePose(box, frame.score, frame.filled)
        for box, frame in zip(boxes, driving_info.frames, strict=True)
    ]
    info = replace(driving_info, frames=frames, crop=clip_crop([b for b in boxes if b], size))
    with publish(out) as partial:
        write_poses(partial, iuvs, info)
