"""The repose stage: the poses that a render's frames show, to be compared with those asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common import frames as frames_format
from common.errors import InputError
from common.files import publish
from common.frames import frame_paths
from common.images import read_png
from common.poses import Box, FramePose, PosesInfo, read_info, write_poses
from common.progress import track
from densepose_prep.detect import backend_of
from densepose_prep.dump import Detections
from densepose_prep.pasting import iuv_image
from densepose_prep.tracking import overlaps


def repose(
    frames: Path, asked: Path, out: Path, backend: str, weights: str, batch_size: int, persons: int
) -> None:
    """Write the poses folder of rendered frames; one frame is in memory at a time.

    Of several persons the one counts who stands where the poses folder `asked` wants one. Nothing
    is filled or calmed: a frame that shows nobody has an empty image and the score 0. Raises
    InputError where `asked` is not of these frames.
    """
    info, wanted, paths = frames_format.read_info(frames), read_info(asked), frame_paths(frames)
    if (len(wanted.frames), wanted.size) != (len(paths), info.size):
        raise InputError(
            f"{asked} is {len(wanted.frames)} frames of {wanted.size[1]}×{wanted.size[0]}, "
            f"{frames} {len(paths)} of {info.size[1]}×{info.size[0]}",
            "give the poses that were sampled",
        )
    detector = backend_of(backend, weights, batch_size, persons)
    named = ((path.name, read_png(path)) for path in paths)
    found: list[FramePose] = []

    def images() -> Iterator[np.ndarray]:
        detections = track(detector.detect(named), "repose", len(paths))
        for image, place in zip(detections, wanted.frames, strict=True):
            index = person_at(image, place.box)
            if index is None:
                found.append(FramePose(None, 0.0))
                yield np.zeros((*info.size, 3), np.uint8)
            else:
                box = tuple(float(value) for value in image.boxes[index])
                found.append(FramePose(box, float(image.scores[index])))
                yield iuv_image(image, index, info.size)

    origin = detector.origin
    poses = PosesInfo(origin.chart, origin.backend, origin.weights, info.fps, frames=found)
    with publish(out) as partial:
        write_poses(partial, images(), poses)


def person_at(image: Detections, place: Box | None) -> int | None:
    """Index of the person whose box overlaps `place` most, the surest one where there is none.

    None where nobody is found.
    """
    if not len(image.boxes):
        return None
    if place is None:
        return int(image.scores.argmax())
    return int(overlaps(np.array([place]), image.boxes.numpy()).argmax())
