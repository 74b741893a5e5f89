"""The retarget stage: driving poses into the subject's frame.

The driving person may stand elsewhere or be taller than the subject: scale and position are
matched (standing height, line of the feet, middle), so that the video keeps the size and framing
of the subject's picture. Where one of them is cut off, head and hip take the place of the feet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from common.errors import InputError
from common.files import publish
from common.images import Fit, Size
from common.poses import (
    PARTS,
    Box,
    FramePose,
    part_box,
    pose_paths,
    read_info,
    read_iuv,
    require_chart,
    write_poses,
)
from densepose_prep.crop import clip_crop
from densepose_prep.preview import write_retargeting

_TORSO, _FEET, _HEAD = (1, 2), (5, 6), (23, 24)
_SEEN = 0.5
"""Share of a clip's frames that must show a span for a stance to rest on it."""

Span = Literal["to the feet", "to the hip", "whole"]


@dataclass(frozen=True)
class Stance:
    """How a person stands in a clip, in pixels: height, the lower end's line, the middle."""

    height: float
    floor: float
    middle: float


def spans(iuv: np.ndarray) -> dict[Span, Box]:
    """The person of one frame from the head down, as far as it is seen; "whole" is the plain box.

    Raised or stretched arms widen only the last: x0, x1 are the torso's sides, y0 the crown.
    """
    box, torso, head, feet = (
        part_box(iuv * np.isin(iuv[..., :1], parts))
        for parts in (range(1, PARTS + 1), _TORSO, _HEAD, _FEET)
    )
    found: dict[Span, Box] = {"whole": box} if box else {}
    if torso and head:
        found["to the hip"] = (torso[0], head[1], torso[2], torso[3])
        if feet:
            found["to the feet"] = (torso[0], head[1], torso[2], box[3])
    return found


def comparable(
    driving: Sequence[dict[Span, Box]], subject: Sequence[dict[Span, Box]]
) -> tuple[list[Box], list[Box]]:
    """The longest span that most frames of both clips show, for each clip."""
    for name in get_args(Span):
        first, second = (
            [frame[name] for frame in clip if name in frame] for clip in (driving, subject)
        )
        if len(first) >= _SEEN * len(driving) and len(second) >= _SEEN * len(subject):
            break
    return first, second


def stance(boxes: Sequence[Box]) -> Stance:
    """The stance of a clip's spans: medians, the height's over the tallest third of the frames."""
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
            [0, scale, subject.floor - scale * driving.floor],
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


def retarget(poses: Path, subject: Path, out: Path, mode: str, preview: Path | None = None) -> None:
    """Write the render's poses folder, of the subject's frame size; a preview shows both.

    The subject's stance is that of its first picture, the one that is rendered. Raises InputError
    for mixed charts and where the moved person leaves the frame entirely.
    """
    driving_info, subject_info = read_info(poses), read_info(subject)
    require_chart(driving_info.chart, subject_info.chart, str(poses))
    size = subject_info.size
    paths = pose_paths(poses)
    if mode == "align":
        driving = [spans(read_iuv(path)) for path in paths]
        stances = comparable(driving, [spans(read_iuv(pose_paths(subject)[0]))])
        if not all(stances):
            raise InputError(f"{poses} or {subject} shows nobody", "make the poses again")
        matrix = alignment(*map(stance, stances))
    else:
        matrix = letterbox(driving_info.size, size)

    def images() -> Iterator[np.ndarray]:
        return (moved(read_iuv(path), matrix, size) for path in paths)

    boxes = [part_box(iuv) for iuv in images()]
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
        write_poses(partial, images(), info)
    if preview:
        write_retargeting(preview, poses, subject, out)
