"""A render measured and shown: `metrics.json` and `contact.png`.

Without true frames only what needs none is measured; nothing is made up for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import frames as frames_folder
from common import poses as poses_folder
from common.errors import InputError
from common.files import publish, write_json
from common.images import Size, read_png, write_png
from common.poses import colour, read_iuv
from dreampose_core.contact import cell, lay_out
from dreampose_core.measuring import NO_EXTRAS, Compared, Extras, measure, one_thread

_CELL, _CELL_MAX = 256, 384
"""Cells are at least and at most so many pixels high."""

_SHOWN = {
    "psnr": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.3f}"),
    "person_psnr": ("person PSNR", "{:.2f} dB"),
    "person_ssim": ("person SSIM", "{:.3f}"),
    "flicker": ("flicker", "{:.4f}"),
}


@dataclass(frozen=True, kw_only=True)
class Render(Compared):
    """The files of one render, frame by frame."""

    photo: Path
    driving: Sequence[Path]


def evaluate(
    samples: Path,
    subject: Path,
    driving: Path,
    poses: Path,
    out: Path,
    subject_poses: Path | None = None,
    truth: Path | None = None,
    estimated_poses: Path | None = None,
    columns: int = 6,
    extras: Extras = NO_EXTRAS,
) -> dict[str, Any]:
    """Measure the frames folder `samples` and show it beside its inputs; returns the metrics.

    `subject`, `driving` and `truth` are frames folders, `poses` the poses folder that was
    sampled, `subject_poses` the subject's, `estimated_poses` one made from `samples`; `columns` is
    how many frames the sheet shows. The folder `out` gets `metrics.json` and `contact.png`.
    Raises InputError where folders do not belong together.
    """
    if columns < 1:
        raise InputError(f"--columns {columns} shows nothing", "give 1 or more")
    photo = frames_folder.frame_paths(subject)[0]
    render = Render(
        size=frames_folder.read_info(samples).size,
        result=frames_folder.frame_paths(samples),
        truth=frames_folder.frame_paths(truth) if truth else None,
        poses=poses_folder.pose_paths(poses),
        **estimated(estimated_poses, poses),
        subject=(photo, poses_folder.pose_paths(subject_poses)[0]) if subject_poses else None,
        photo=photo,
        driving=frames_folder.frame_paths(driving),
    )
    fits(poses, render.size, "give the poses that were sampled")
    if estimated_poses:
        fits(estimated_poses, render.size, "estimate them from the result")
    if subject_poses:
        fits(subject_poses, frames_folder.read_info(subject).size, "give the subject's own poses")
    same_count(
        len(render.result),
        {
            "driving": render.driving,
            "poses": render.poses,
            "truth": render.truth,
            "estimated-poses": render.estimated,
        },
    )
    with one_thread():
        report = measure(render, extras)
    with publish(out) as partial:
        partial.mkdir()
        write_json(partial / "metrics.json", report)
        write_png(partial / "contact.png", contact_sheet(render, columns, summary(report)))
    return report


def estimated(found: Path | None, asked: Path | None, most: int = 0) -> dict[str, Any]:
    """Fields of `Compared`: the estimated poses, the first `most` of them (0: all), or why none."""
    if not found:
        return {}
    if asked:
        own, wanted = (poses_folder.read_info(folder).chart for folder in (found, asked))
        if own != wanted:
            reason = f"found in the chart '{own}', asked for in '{wanted}': U and V differ"
            return {"unmeasured": {"pose": reason}}
    return {"estimated": poses_folder.pose_paths(found)[: most or None]}


def fits(poses: Path, size: Size, remedy: str) -> None:
    """Raises InputError where a poses folder is not of that size."""
    own = poses_folder.read_info(poses).size
    if own != size:
        raise InputError(f"{poses} is {own[1]}×{own[0]}, the pictures {size[1]}×{size[0]}", remedy)


def same_count(count: int, others: Mapping[str, Sequence[Path] | None]) -> None:
    """Raises InputError where something has not as many frames as the result."""
    for name, paths in others.items():
        if paths is not None and len(paths) != count:
            raise InputError(
                f"--{name} has {len(paths)} frames, the result {count}",
                "make both from the same part of the clip (--start, --end, --fps, --max-frames)",
            )


def summary(report: dict[str, Any]) -> str:
    """One line for people, e.g. "PSNR 24.10 dB   SSIM 0.871   …"."""
    figures = {**(report["truth"] or {}), "flicker": report["flicker"]}
    return "   ".join(
        f"{name} {form.format(figures[key])}"
        for key, (name, form) in _SHOWN.items()
        if figures.get(key) is not None
    )


def contact_sheet(render: Render, columns: int, footer: str) -> np.ndarray:
    """RGB uint8 sheet: the subject once, then driving frames, poses, results and true frames."""
    count = len(render.result)
    indices = np.unique(np.linspace(0, count - 1, min(columns, count)).round().astype(int))
    rows = {
        "subject": [read_png(render.photo)],
        "driving": [read_png(render.driving[i]) for i in indices],
        "pose": [colour(read_iuv(render.poses[i])) for i in indices],
        "result": [read_png(render.result[i]) for i in indices],
    }
    if render.truth:
        rows["truth"] = [render.true_frame(i) for i in indices]
    own = render.size[0]
    high = min(_CELL_MAX, own * math.ceil(_CELL / own))
    scaled = {
        name: [cell(image, high, smooth=name != "pose") for image in row]
        for name, row in rows.items()
    }
    return lay_out(scaled, [f"frame {i}" for i in indices], footer)
