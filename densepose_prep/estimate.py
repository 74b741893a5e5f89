"""Poses estimated from arrays of frames, for measuring: what does the network see in a result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from common.errors import InputError
from common.files import publish
from common.progress import track
from common.workers import in_processes
from densepose_prep.network import IuvNetwork
from densepose_prep.train_iuv import estimated

_BATCH = 16


@dataclass(frozen=True)
class _Job:
    weights: Path
    frames: Path
    out: Path
    row: int


def estimate(weights: Path, arrays: tuple[Path, ...], out: Path, workers: int | None) -> None:
    """Write the IUV of every array (S, …, H, W, 3) of RGB uint8 to the folder `out`.

    FOLDER/NAME.npy becomes FOLDER-NAME.npy. Raises InputError where frames do not have the
    network's size.
    """
    size = IuvNetwork.load(weights).size
    with publish(out) as folder:
        folder.mkdir()
        jobs = []
        for path in arrays:
            frames = np.load(path, mmap_mode="r")
            if frames.shape[-3:-1] != size:
                raise InputError(
                    f"{path} has frames of {frames.shape[-3:-1]}, the network wants {size}",
                    "measure at the network's size",
                )
            made = folder / f"{path.parent.name}-{path.name}"
            open_memmap(made, "w+", np.uint8, frames.shape)
            jobs += [_Job(weights, path, made, row) for row in range(len(frames))]
        for _ in track(in_processes(_estimate_row, jobs, workers), "poses", total=len(jobs)):
            pass


def _estimate_row(job: _Job) -> None:
    torch.set_num_threads(1)
    network = IuvNetwork.load(job.weights)
    frames = np.load(job.frames, mmap_mode="r")[job.row]
    flat = frames.reshape(-1, *frames.shape[-3:])
    parts = [estimated(network, flat[at : at + _BATCH]) for at in range(0, len(flat), _BATCH)]
    made = open_memmap(job.out, "r+")
    made[job.row] = np.concatenate(parts).reshape(frames.shape)
    made.flush()
