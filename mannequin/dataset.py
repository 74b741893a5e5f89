"""Writes a data set: many subjects, a few clips of each, as memory-mapped arrays in one folder.

`rgb.npy`, `iuv.npy` (S, C, T, H, W, 3) uint8 and `yaw.npy` (S, C, T) float32 radians, for S
subjects, C clips of each and T frames evenly spaced over a motion; `meta.json` says which seeds,
families and frames they are. The bytes depend on the arguments only, not on the number of
workers. A killed run leaves only a hidden partial folder, from which the next one goes on.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from common.errors import InputError
from common.files import publish, remove, write_json
from common.progress import Progress
from common.workers import in_processes
from mannequin import VERSION
from mannequin.charts import CHART_NAME
from mannequin.motion import CLIP_FRAMES, sample_motion
from mannequin.render import render_clip
from mannequin.split import Split, split_hash, split_of
from mannequin.subject import sample_subject

PLAN, DONE, META = "plan.json", "done.npy", "meta.json"


def plan_dataset(
    subjects: Iterable[int],
    *,
    clips_per_subject: int = 2,
    frames_per_clip: int = 8,
    families: Sequence[str] | None = None,
    motions: Sequence[int] = (),
    height: int = 160,
    width: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """What `meta.json` will say.

    All subjects must be of one split. Motions are drawn from that split's seeds, evenly over
    `families` (the split's own unless given); or every subject is seen in `motions`, seeds of that
    split, one clip each.
    """
    subjects = [int(subject) for subject in subjects]
    split = split_of(subjects)
    choices = list(families or split.families)
    if unknown := [motion for motion in motions if motion not in split.motions]:
        raise InputError(
            f"motion {unknown[0]} is not of the split '{split.name}'",
            f"give {split.motions.start} to {split.motions.stop - 1}",
        )
    given = [(int(motion), choices[n % len(choices)]) for n, motion in enumerate(motions)]
    clips = [
        given or _draw_clips(seed, subject, clips_per_subject, choices, split)
        for subject in subjects
    ]
    return {
        "version": VERSION,
        "split": split.name,
        "split_hash": split_hash(),
        "chart": CHART_NAME,
        "seed": seed,
        "height": height,
        "width": width,
        "motion_frames": CLIP_FRAMES,
        "frame_indices": _evenly_spaced(frames_per_clip),
        "subjects": subjects,
        "motions": [[motion for motion, _ in row] for row in clips],
        "families": [[family for _, family in row] for row in clips],
    }


def render_dataset(out: Path, plan: dict[str, Any], workers: int | None = None) -> None:
    """Render `plan` (of `plan_dataset`) into the folder `out`, on all cores unless told."""
    subjects = plan["subjects"]
    clip_shape = (len(subjects), len(plan["motions"][0]), len(plan["frame_indices"]))
    pixels = (*clip_shape, plan["height"], plan["width"], 3)
    with publish(Path(out), keep_partial=True) as folder:
        if not _continues(folder, plan):
            remove(folder)
            folder.mkdir()
            open_memmap(folder / "rgb.npy", "w+", np.uint8, pixels)
            open_memmap(folder / "iuv.npy", "w+", np.uint8, pixels)
            open_memmap(folder / "yaw.npy", "w+", np.float32, clip_shape)
            open_memmap(folder / DONE, "w+", np.bool_, clip_shape[:1])
            write_json(folder / PLAN, plan)
        done = open_memmap(folder / DONE, "r+")
        waiting = np.flatnonzero(~done).tolist()
        with Progress("subjects", len(subjects), start=int(done.sum())) as progress:
            jobs = [_job(folder, plan, row) for row in waiting]
            for row in in_processes(_render_row, jobs, workers):
                done[row] = True
                progress.advance()
        (folder / DONE).unlink()
        os.replace(folder / PLAN, folder / META)


def _draw_clips(
    seed: int, subject: int, count: int, families: list[str], split: Split
) -> list[tuple[int, str]]:
    rng = np.random.default_rng([seed, subject])
    return [
        (
            int(rng.integers(split.motions.start, split.motions.stop)),
            families[rng.integers(len(families))],
        )
        for _ in range(count)
    ]


def _evenly_spaced(count: int) -> list[int]:
    return np.linspace(0, CLIP_FRAMES - 1, count).round().astype(int).tolist()


def _continues(folder: Path, plan: dict[str, Any]) -> bool:
    try:
        return json.loads((folder / PLAN).read_text()) == plan
    except (OSError, ValueError):
        return False


def _job(folder: Path, plan: dict[str, Any], row: int) -> dict[str, Any]:
    shared = {key: plan[key] for key in ("height", "width", "frame_indices")}
    own = {key: plan[key][row] for key in ("subjects", "motions", "families")}
    return {"folder": folder, "row": row, **shared, **own}


def _render_row(job: dict[str, Any]) -> int:
    """Render one subject's clips into its row of the arrays; returns the row."""
    subject, row = sample_subject(job["subjects"]), job["row"]
    arrays = [open_memmap(job["folder"] / name, "r+") for name in ("rgb.npy", "iuv.npy", "yaw.npy")]
    rgb, iuv, yaw = arrays
    for clip, (seed, family) in enumerate(zip(job["motions"], job["families"], strict=True)):
        motion = sample_motion(family, seed)
        rgb[row, clip], iuv[row, clip] = render_clip(
            subject,
            motion,
            height=job["height"],
            width=job["width"],
            frame_indices=job["frame_indices"],
        )
        yaw[row, clip] = motion.yaw[job["frame_indices"]]
    for array in arrays:
        array.flush()
    return row
