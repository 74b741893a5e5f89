"""Any two clips compared: folders of pictures, frames folders or videos."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import frames as frames_folder
from common import poses as poses_folder
from common.errors import InputError
from common.files import write_json
from common.images import read_png
from dreampose_core.evaluate import estimated, fits, same_count
from dreampose_core.extract import extract_frames
from dreampose_core.measuring import NO_EXTRAS, Compared, Extras, measure, one_thread

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_LARGEST = 8192
_MEANING = {
    "l1": "L1, 0–1",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "person_psnr": "PSNR on the person, dB",
    "person_ssim": "SSIM on the person",
    "flicker": "brightness change of the background a frame, 0–1",
    "colour_flicker": "colour change of the background a frame, ΔE in a, b",
    "warped_difference": "change along the motion a frame, 0–1",
    "part_iou": "part IoU of the estimated poses",
    "silhouette_iou": "silhouette IoU of the estimated poses",
    "u_error": "|ΔU| where parts agree, 0–1",
    "v_error": "|ΔV| where parts agree, 0–1",
}


def compare(
    first: Path,
    second: Path,
    poses: Path | None = None,
    estimated_poses: Path | None = None,
    out: Path | None = None,
    max_frames: int = 0,
    extras: Extras = NO_EXTRAS,
) -> dict[str, Any]:
    """Measure the clip `first` against `second`, the truth; returns and prints the metrics.

    With the poses folder `poses`, of the size of `first`, figures of person and background are
    added. `max_frames` compares the first so many frames (0: all, and as many in both). `out` is
    a JSON file. Raises InputError where the two do not belong together.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = _pictures(first, Path(scratch, "first"), max_frames)
        truth = _pictures(second, Path(scratch, "second"), max_frames)
        clip = Compared(
            size=read_png(made[0]).shape[:2],
            result=made,
            truth=truth,
            poses=_poses(poses, max_frames),
            **estimated(estimated_poses, poses, max_frames),
        )
        same_count(
            len(made), {"second": truth, "poses": clip.poses, "estimated-poses": clip.estimated}
        )
        for folder in (poses, estimated_poses):
            if folder:
                fits(folder, clip.size, "give poses of the first clip's pictures")
        with one_thread():
            report = measure(clip, extras)
    if out:
        write_json(out, report)
    print("\n".join(_lines(report)))
    return report


def _pictures(source: Path, scratch: Path, most: int) -> list[Path]:
    """Pictures of one size: a frames folder's, a folder's by name, or a video's in `scratch`."""
    if (source / frames_folder.INFO).exists():
        return frames_folder.frame_paths(source)[: most or None]
    if source.is_dir():
        found = sorted(p for p in source.iterdir() if p.suffix.lower() in _PICTURES)
        if not found:
            raise InputError(f"{source} holds no picture", "give a folder of pictures or a video")
        _same_size(found[: most or None])
        return found[: most or None]
    extract_frames(source, scratch, max_frames=most, max_side=_LARGEST)
    return frames_folder.frame_paths(scratch)


def _same_size(paths: list[Path]) -> None:
    sizes = {read_png(path).shape[:2]: path for path in paths}
    if len(sizes) > 1:
        one, other = list(sizes.values())[:2]
        raise InputError(f"{one} and {other} differ in size", "give pictures of one size")


def _poses(folder: Path | None, most: int) -> list[Path] | None:
    return poses_folder.pose_paths(folder)[: most or None] if folder else None


def _lines(report: dict[str, Any]) -> Iterator[str]:
    truth, pose = report["truth"], report["pose"] or {}
    yield f"{report['frames']} frames of {report['size'][1]}×{report['size'][0]}"
    if truth["resized"]:
        yield f"the second is scaled from {truth['size'][1]}×{truth['size'][0]}"
    for name, meaning in _MEANING.items():
        own = report.get(name, pose.get(name))
        value = truth.get(name) if own is None else own
        if value is not None:
            beside = own is not None and truth.get(name) is not None
            yield f"{value:10.4f}  {meaning}" + (f" (second: {truth[name]:.4f})" if beside else "")
    for name, reason in report["unmeasured"].items():
        yield f"{'–':>10}  {name}: {reason}"
    for name, figure in report["extras"].items():
        yield f"{figure['value']:10.4f}  {name.upper()}: {figure['made by']}, {figure['frames']}"
