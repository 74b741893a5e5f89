"""A render measured and shown: `metrics.json` and `contact.png`.

Without true frames only what needs none is measured; nothing is made up for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
import torch

from common import frames as frames_folder
from common import poses as poses_folder
from common.errors import InputError
from common.files import publish, write_json
from common.images import Size, read_png, write_png
from common.poses import colour, read_iuv
from common.progress import track
from dreampose_core import metrics
from dreampose_core.contact import cell, lay_out
from dreampose_core.drift import Drift

_CELL, _CELL_MAX = 256, 384
"""Cells are at least and at most so many pixels high."""

_SHOWN = {
    "psnr": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.3f}"),
    "person_psnr": ("person PSNR", "{:.2f} dB"),
    "person_ssim": ("person SSIM", "{:.3f}"),
    "flicker": ("flicker", "{:.4f}"),
}


@dataclass(frozen=True)
class Render:
    """The files of one render, frame by frame; `truth` is None where there is none."""

    size: Size
    result: list[Path]
    subject: Path
    driving: list[Path]
    poses: list[Path]
    truth: list[Path] | None

    def true_frame(self, index: int) -> np.ndarray:
        """True frame in the result's size."""
        image = read_png(self.truth[index])
        if image.shape[:2] == self.size:
            return image
        return cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)


def evaluate(
    samples: Path,
    subject: Path,
    driving: Path,
    poses: Path,
    out: Path,
    truth: Path | None = None,
    columns: int = 6,
) -> dict[str, Any]:
    """Measure the frames folder `samples` and show it beside its inputs; returns the metrics.

    `subject`, `driving` and `truth` are frames folders, `poses` the poses folder that was
    sampled; `columns` is how many frames the sheet shows. The folder `out` gets `metrics.json`
    and `contact.png`. Raises InputError where folders do not belong together.
    """
    if columns < 1:
        raise InputError(f"--columns {columns} shows nothing", "give 1 or more")
    render = _open(samples, subject, driving, poses, truth)
    with _one_thread():
        report = measure(render)
    with publish(out) as partial:
        partial.mkdir()
        write_json(partial / "metrics.json", report)
        write_png(partial / "contact.png", contact_sheet(render, columns, summary(report)))
    return report


def _open(samples: Path, subject: Path, driving: Path, poses: Path, truth: Path | None) -> Render:
    size, poses_size = frames_folder.read_info(samples).size, poses_folder.read_info(poses).size
    if poses_size != size:
        raise InputError(
            f"{poses} is {poses_size[1]}×{poses_size[0]}, the result {size[1]}×{size[0]}",
            "give the poses that were sampled",
        )
    render = Render(
        size=size,
        result=frames_folder.frame_paths(samples),
        subject=frames_folder.frame_paths(subject)[0],
        driving=frames_folder.frame_paths(driving),
        poses=poses_folder.pose_paths(poses),
        truth=frames_folder.frame_paths(truth) if truth else None,
    )
    for name, paths in (
        ("driving", render.driving),
        ("poses", render.poses),
        ("truth", render.truth),
    ):
        if paths is not None and len(paths) != len(render.result):
            raise InputError(
                f"--{name} has {len(paths)} frames, the result {len(render.result)}",
                "make both from the same part of the clip (--start, --end, --fps, --max-frames)",
            )
    return render


def measure(render: Render) -> dict[str, Any]:
    """All figures of a render, one frame in memory at a time.

    "person" figures are taken inside the dilated person of the poses. A figure that cannot be
    measured is None.
    """
    rows, changes, before = [], [], None
    drift = Drift(len(render.result))
    for index, path in enumerate(track(render.result, "evaluate")):
        image = read_png(path)
        iuv = read_iuv(render.poses[index])
        person = _dilated(iuv[..., 0] > 0)
        drift.add(image, iuv)
        if before is not None:
            pair = np.stack([before[0], image]), ~np.stack([before[1], person])
            changes.append(metrics.flicker(*pair))
        before = image, person
        if render.truth:
            rows.append({"frame": index, **_compare(image, render.true_frame(index), person)})
    return {
        "frames": len(render.result),
        "size": list(render.size),
        "flicker": _mean(changes),
        "drift": drift.figures(),
        "truth": _overall(render, rows) if render.truth else None,
        "per_frame": rows,
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums that do not depend on the number of cores; small pictures gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _compare(image: np.ndarray, truth: np.ndarray, person: np.ndarray) -> dict[str, float | None]:
    figures = {
        "l1": metrics.l1(image, truth),
        "psnr": metrics.psnr(image, truth),
        "ssim": metrics.ssim(image, truth),
        "person_psnr": metrics.masked_psnr(image, truth, person),
        "person_ssim": metrics.masked_ssim(image, truth, person),
    }
    return {name: _rounded(value) for name, value in figures.items()}


def _overall(render: Render, rows: list[dict[str, Any]]) -> dict[str, Any]:
    size = list(read_png(render.truth[0]).shape[:2])
    means = {name: _mean([row[name] for row in rows]) for name in rows[0] if name != "frame"}
    return {"size": size, "resized": size != list(render.size), **means}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return _rounded(fmean(known)) if known else None


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def _dilated(mask: np.ndarray) -> np.ndarray:
    """A mask grown by a thirty-second of the picture's height."""
    reach = max(1, mask.shape[0] // 32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def summary(report: dict[str, Any]) -> str:
    """One line for people, e.g. "PSNR 24.10 dB   SSIM 0.871   …"."""
    figures = {"flicker": report["flicker"], **(report["truth"] or {})}
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
        "subject": [read_png(render.subject)],
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
