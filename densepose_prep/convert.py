"""Poses in the form of the reference implementation: a folder of `frame_N_densepose.npy`.

Each is (2, H, W) float64: U and V of one person pasted into the frame, 0 off the body. They are not
clamped, and the part is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common import frames as frames_format
from common.errors import InputError
from common.files import publish
from common.images import Size
from common.poses import PosesInfo, part_box, pose_paths, read_iuv, write_poses
from densepose_prep.crop import clip_crop
from densepose_prep.dump import ChartResult, read_dump
from densepose_prep.reformat import matched, reformat

_NAME = re.compile(r"frame_(\d+)_densepose\.npy")
_SOME_PART = 2
"""Stands for the part that the form does not keep: the front of the torso."""


def reference_uv(result: ChartResult, box: np.ndarray, size: Size) -> np.ndarray:
    """U and V (2, H, W) float64 of one person, pasted at (int(x0), int(y0)) of the frame."""
    x, y = (int(value) for value in box[:2])
    height, width = result.labels.shape
    canvas = np.zeros((2, *size))
    canvas[:, y : y + height, x : x + width] = result.uv.numpy()
    return canvas


def without_part(iuv: np.ndarray) -> np.ndarray:
    """IUV uint8 (H, W, 3) in the reference's form (2, H, W)."""
    return (iuv[..., 1:] * (iuv[..., :1] > 0)).transpose(2, 0, 1) / 255


def with_some_part(uv: np.ndarray) -> np.ndarray:
    """The reference's (2, H, W) as IUV uint8 (H, W, 3), clamped; every part is the same one."""
    values = np.rint(uv.clip(0, 1) * 255).astype(np.uint8)
    body = np.where(uv.any(0), _SOME_PART, 0).astype(np.uint8)
    return np.stack([body, *values], -1)


def export_poses(source: Path, out: Path, frames: Path | None) -> None:
    """Write a poses folder, or a dump of `frames`, in the reference's form.

    Of a dump's persons the first is taken, as the reference does; with nobody all is 0.
    Raises InputError where a dump comes without its frames.
    """
    arrays = _of_poses(source) if source.is_dir() else _of_dump(source, frames)
    with publish(out) as partial:
        partial.mkdir()
        for index, uv in enumerate(arrays):
            np.save(partial / f"frame_{index}_densepose.npy", uv)


def _of_poses(folder: Path) -> Iterator[np.ndarray]:
    return (without_part(read_iuv(path)) for path in pose_paths(folder))


def _of_dump(dump: Path, frames: Path | None) -> Iterator[np.ndarray]:
    images, _ = read_dump(dump)
    info = frames_format.read_info(_frames_of(dump, frames))
    for image in matched(images, info.count, info.size, dump, frames):
        if image.results:
            yield reference_uv(image.results[0], image.boxes[0].numpy(), info.size)
        else:
            yield np.zeros((2, *info.size))


def _frames_of(dump: Path, frames: Path | None) -> Path:
    if frames is None:
        raise InputError(f"{dump} does not say how large its frames are", "give --frames too")
    return frames


def import_poses(source: Path, out: Path, frames: Path | None) -> None:
    """Write a poses folder of the reference's form, or of a dump of `frames`, however many gaps.

    Raises InputError where the source is neither, or not of these frames.
    """
    if not source.is_dir():
        frames = _frames_of(source, frames)
        return reformat(source, frames, out, most_missing=1)
    paths = reference_paths(source)
    size = read_reference(paths[0]).shape[1:]
    info = frames_format.read_info(frames) if frames else None
    if info and (info.size, info.count) != (size, len(paths)):
        raise InputError(
            f"{source} has {len(paths)} poses of {size[1]}×{size[0]}, {frames} {info.count} frames "
            f"of {info.size[1]}×{info.size[0]}",
            "give the frames that the poses were made of",
        )

    def images() -> Iterator[np.ndarray]:
        for path in paths:
            uv = read_reference(path)
            if uv.shape[1:] != size:
                raise InputError(f"{path} has another size than the first", "give one clip's poses")
            yield with_some_part(uv)

    boxes = [box for iuv in images() if (box := part_box(iuv))]
    if not boxes:
        raise InputError(f"{source} shows nobody", "give poses of a person")
    fps = info.fps if info else "1"
    poses = PosesInfo("densepose", "reference", fps=fps, crop=clip_crop(boxes, size))
    with publish(out) as partial:
        write_poses(partial, images(), poses)
    return None


def reference_paths(folder: Path) -> list[Path]:
    """The files in the order of their numbers. Raises InputError where there is none, or a gap."""
    numbered = {
        int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    }
    remedy = "give a folder of frame_N_densepose.npy without gaps"
    if not numbered:
        raise InputError(f"{folder} holds no frame_N_densepose.npy", remedy)
    for number in range(min(numbered), max(numbered)):
        if number not in numbered:
            raise InputError(f"{folder} lacks frame_{number}_densepose.npy", remedy)
    return [numbered[number] for number in sorted(numbered)]


def read_reference(path: Path) -> np.ndarray:
    """U, V (2, H, W). Raises InputError where the file holds anything else."""
    try:
        uv = np.load(path, allow_pickle=False)
        if not isinstance(uv, np.ndarray):
            raise ValueError("an archive of several arrays")
        if uv.ndim != 3 or len(uv) != 2 or uv.dtype.kind != "f":
            raise ValueError(f"{uv.dtype} {uv.shape}, not (2, height, width) of float")
        if not np.isfinite(uv).all():
            raise ValueError("U, V are not finite")
    except Exception as error:  # the reader raises anything on a damaged file
        raise InputError(f"{path} holds no U, V ({error})", "make it again") from None
    return uv
