"""Pictures to judge poses by: a clip with its coloured IUV laid over, and a contact sheet of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.files import publish
from common.frames import frame_paths
from common.images import Fit, Size, read_png, sheet, write_png
from common.poses import colour, pose_paths, read_info, read_iuv
from common.video import write_video

VIDEO, SHEET = "preview.mp4", "sheet.png"
_SIDE = 640
"""Pixels of a preview's longer side, at most."""
_COLUMNS = 8
_GREY = 90
_MARK = (255, 120, 0)


def write_previews(folder: Path, frames: Path, poses: Path) -> None:
    """Write `preview.mp4` and `sheet.png` into a folder; filled frames have an orange border."""
    info = read_info(poses)
    fit = Fit.whole(info.size, preview_size(info.size))
    pictures, iuvs = frame_paths(frames), pose_paths(poses)

    def overlays() -> Iterator[np.ndarray]:
        for picture, iuv, frame in zip(pictures, iuvs, info.frames, strict=True):
            yield overlay(read_png(picture), read_iuv(iuv), fit, filled=frame.filled)

    some = _some(len(pictures))
    plain = [fit.apply(read_png(pictures[i])) for i in some]
    coloured = [colour(fit.apply(read_iuv(iuvs[i]), labels=True)) for i in some]
    laid_over = [
        overlay(read_png(pictures[i]), read_iuv(iuvs[i]), fit, filled=info.frames[i].filled)
        for i in some
    ]
    with publish(folder) as partial:
        partial.mkdir(parents=True)
        write_video(partial / VIDEO, overlays(), fit.size, info.fps, "poses laid over their frames")
        write_png(partial / SHEET, sheet([plain, coloured, laid_over]))


def write_retargeting(path: Path, poses: Path, subject: Path, retargeted: Path) -> None:
    """Write a sheet as PNG: the driving poses, and where they stand beside the subject in grey."""
    before, after = pose_paths(poses), pose_paths(retargeted)
    some = _some(len(after))
    own, size = read_info(poses).size, read_info(retargeted).size
    still = Fit.whole(size, preview_size(size))
    fits = Fit.whole(own, preview_size(own)), still
    standing = still.apply(read_iuv(pose_paths(subject)[0]), labels=True)[..., :1] > 0
    backdrop = np.where(standing, _GREY, 0).astype(np.uint8).repeat(3, -1)
    driving, moved = (
        [colour(fit.apply(read_iuv(paths[i]), labels=True)) for i in some]
        for fit, paths in zip(fits, (before, after), strict=True)
    )
    placed = [np.where(paint.any(-1, keepdims=True), paint, backdrop) for paint in moved]
    with publish(path) as partial:
        write_png(partial, sheet([driving, placed]))


def _some(count: int) -> np.ndarray:
    """Indices of a few frames, evenly through the clip."""
    return np.unique(np.linspace(0, count - 1, _COLUMNS).astype(int))


def preview_size(size: Size) -> Size:
    """The size, brought down evenly so that no side is longer than a preview's."""
    scale = min(1, _SIDE / max(size))
    return round(size[0] * scale), round(size[1] * scale)


def overlay(frame: np.ndarray, iuv: np.ndarray, fit: Fit, *, filled: bool) -> np.ndarray:
    """RGB uint8 of `fit`'s size: half the frame, half the colour of its IUV, marked if filled."""
    picture, paint = fit.apply(frame), colour(fit.apply(iuv, labels=True))
    mixed = np.where(paint.any(-1, keepdims=True), picture // 2 + paint // 2, picture)
    return marked(mixed) if filled else mixed


def marked(picture: np.ndarray) -> np.ndarray:
    """The picture with an orange border."""
    edge = max(2, max(picture.shape) // 80)
    inner = picture[edge:-edge, edge:-edge]
    return np.stack(
        [np.pad(inner[..., c], edge, constant_values=value) for c, value in enumerate(_MARK)], -1
    )
