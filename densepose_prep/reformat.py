"""The reformat stage: a dump to a poses folder, one person followed through the clip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common import frames as frames_format
from common.errors import InputError
from common.files import publish
from common.frames import frame_paths
from common.images import Size, read_png, sheet, write_png
from common.poses import FramePose, PosesInfo, colour, write_poses
from densepose_prep.dump import Detections, read_dump

_MISSING_LIMIT = 0.5
_MARGIN = 0.08
_PREVIEW_FRAMES = 8


def iuv_image(image: Detections, person: int, size: Size) -> np.ndarray:
    """IUV uint8 (H, W, 3) of one person, pasted at (int(x0), int(y0)); U, V clamped to [0, 1]."""
    result = image.results[person]
    labels, uv = result.labels.numpy(), result.uv.numpy().clip(0, 1)
    pasted = np.concatenate([labels[None], np.rint(uv * 255) * (labels > 0)]).astype(np.uint8)
    x, y = (int(value) for value in image.boxes[person, :2])
    canvas = np.zeros((*size, 3), np.uint8)
    target = canvas[max(0, y) : y + labels.shape[0], max(0, x) : x + labels.shape[1]]
    inside = pasted[:, max(0, -y) :, max(0, -x) :][:, : target.shape[0], : target.shape[1]]
    target[:] = inside.transpose(1, 2, 0)
    return canvas


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


def largest(image: Detections) -> int | None:
    """The person with the largest box, None where there is nobody."""
    if not image.results:
        return None
    x0, y0, x1, y1 = image.boxes.T
    return int(((x1 - x0) * (y1 - y0)).argmax())


def nearest(present: Sequence[int], index: int) -> int:
    """The entry of `present` that is closest to `index`."""
    return min(present, key=lambda other: (abs(other - index), other))


def clip_crop(boxes: Sequence[tuple], size: Size) -> tuple[int, int, int, int]:
    """One person crop for the whole clip: the union of the boxes, padded, inside the frame."""
    x0, y0 = np.min([box[:2] for box in boxes], 0)
    x1, y1 = np.max([box[2:] for box in boxes], 0)
    pad = _MARGIN * (y1 - y0)
    return (
        max(0, int(x0 - pad)),
        max(0, int(y0 - pad)),
        min(size[1], int(np.ceil(x1 + pad))),
        min(size[0], int(np.ceil(y1 + pad))),
    )


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


def reformat(dump: Path, frames: Path, out: Path, person: str, preview: Path | None) -> None:
    """Write the poses folder of a dump; gaps take their nearest neighbour's pose, flagged.

    Raises InputError where the dump is not of these frames, or more than half show nobody.
    """
    images, origin = read_dump(dump)
    info = frames_format.read_info(frames)
    paths = frame_paths(frames)
    ordered = matched(images, len(paths), info.size, dump, frames)
    choose = {"largest": largest}[person]
    chosen = [choose(image) for image in ordered]
    present = [index for index, found in enumerate(chosen) if found is not None]
    missing = [index for index, found in enumerate(chosen) if found is None]
    if len(missing) > _MISSING_LIMIT * len(chosen) or not present:
        shown = ", ".join(map(str, missing[:8])) + (" …" if len(missing) > 8 else "")
        raise InputError(
            f"no person found in {len(missing)} of {len(chosen)} frames of {frames} ({shown})",
            "use a picture of one whole person on a plain background, or another clip",
        )
    iuvs, found = [], []
    for index in range(len(chosen)):
        at = index if chosen[index] is not None else nearest(present, index)
        image, which = ordered[at], chosen[at]
        box = tuple(float(value) for value in image.boxes[which])
        iuvs.append(iuv_image(image, which, info.size))
        found.append(FramePose(box, float(image.scores[which]), filled=at != index))
    poses = PosesInfo(
        chart=origin.chart,
        backend=origin.backend,
        weights=origin.weights,
        fps=info.fps,
        crop=clip_crop([frame.box for frame in found], info.size),
        frames=found,
    )
    with publish(out) as partial:
        write_poses(partial, iuvs, poses)
    if preview:
        with publish(preview) as partial:
            write_png(partial, overlay_sheet(paths, iuvs))


def overlay_sheet(paths: Sequence[Path], iuvs: Sequence[np.ndarray]) -> np.ndarray:
    """Some frames, their coloured IUV, and one laid over the other, as a picture to look at."""
    some = np.unique(np.linspace(0, len(paths) - 1, _PREVIEW_FRAMES).astype(int))
    frames = [read_png(paths[i]) for i in some]
    colours = [colour(iuvs[i]) for i in some]
    mixed = [
        np.where(c.any(-1, keepdims=True), f // 2 + c // 2, f)
        for f, c in zip(frames, colours, strict=True)
    ]
    return sheet([frames, colours, mixed])
