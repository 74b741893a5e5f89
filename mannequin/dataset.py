"""Writes a data set: many subjects, a few clips of each, as memory-mapped arrays in one folder.

`rgb.npy`, `iuv.npy` (S, C, T, H, W, 3) uint8 and `yaw.npy` (S, C, T) float32 radians, for S
subjects, C clips of each and T frames evenly spaced over a motion; `meta.json` says which seeds,
families and frames they are. The bytes depend on the arguments only, not on the number of
workers. A killed run leaves only a hidden partial folder, from which the next one goes on.
"""

import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from common.files import publish, remove, write_json
from common.program import die_with_parent
from common.progress import Progress
from mannequin import VERSION
from mannequin.charts import CHART_NAME
from mannequin.motion import CLIP_FRAMES, sample_motion
from mannequin.render import render_clip
from mannequin.split import Split, split_hash, split_of
from mannequin.subject import sample_subject

PLAN, DONE, META = "plan.json", "done.npy", "meta.json"
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def plan_dataset(
    subjects: Iterable[int],
    *,
    clips_per_subject: int = 2,
    frames_per_clip: int = 8,
    families: Sequence[str] | None = None,
    height: int = 160,
    width: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """What `meta.json` will say.

    All subjects must be of one split. Motions are drawn from that split's seeds, evenly over
    `families` (the split's own unless given).
    """
    subjects = [int(subject) for subject in subjects]
    split = split_of(subjects)
    choices = list(families or split.families)
    clips = [_draw_clips(seed, subject, clips_per_subject, choices, split) for subject in subjects]
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
            for row in _render_rows(folder, plan, waiting, workers):
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


def _render_rows(
    folder: Path, plan: dict[str, Any], rows: list[int], workers: int | None
) -> Iterator[int]:
    workers = min(workers or len(os.sched_getaffinity(0)), len(rows))
    if workers <= 1:
        for row in rows:
            yield _render_row(folder, _job(plan, row))
        return
    spawn = multiprocessing.get_context("spawn")
    with (
        _single_threaded_children(),
        ProcessPoolExecutor(workers, spawn, initializer=die_with_parent) as pool,
    ):
        futures = [pool.submit(_render_row, folder, _job(plan, row)) for row in rows]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _job(plan: dict[str, Any], row: int) -> dict[str, Any]:
    shared = {key: plan[key] for key in ("height", "width", "frame_indices")}
    own = {key: plan[key][row] for key in ("subjects", "motions", "families")}
    return {"row": row, **shared, **own}


def _render_row(folder: Path, job: dict[str, Any]) -> int:
    """Render one subject's clips into its row of the arrays; returns the row."""
    subject, row = sample_subject(job["subjects"]), job["row"]
    arrays = [open_memmap(folder / name, "r+") for name in ("rgb.npy", "iuv.npy", "yaw.npy")]
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


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started meanwhile use one BLAS thread each."""
    before = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
