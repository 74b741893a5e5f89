"""Recipe, step 6: what the base draws of subjects it was not trained on, to learn the detail from.

Every clip of a shard's subject is drawn in one step without noise from one frame of the subject's
other clip. Of every frame the decoder's draft is kept and what the detail network sees beside it,
as uint8 arrays, index (subject, clip, frame, …). The poses are the shard's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from diffusers import AutoencoderDC
from numpy.lib.format import open_memmap

from common.files import file_hash, folder_hash, publish, write_json
from common.progress import track
from common.settings import Sampling
from common.shards import open_shard
from common.workers import in_processes
from dreampose_core.encode_shard import pick_references
from dreampose_core.measuring import one_thread
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline

ARRAYS = ("drafts", "pixels")
KEPT = slice(0, 8)
"""The planes of `detail.pixels` that the shard does not have."""
ONE_STEP = Sampling(steps=1, noise_scale=0)


@dataclass(frozen=True)
class _Job:
    """One subject."""

    base: Path
    decoder: Path
    data: Path
    folder: Path
    subject: int
    seed: int


def draft_shard(
    base: Path, decoder: Path, data: Path, out: Path, subjects: int, seed: int, workers: int
) -> None:
    """Draw a shard's first `subjects` (0 for all) with a base and a decoder into `out`."""
    shard = open_shard(data)
    count = subjects or shard.shape[0]
    frames = (count, *shard.rgb.shape[1:])
    with publish(out) as partial:
        partial.mkdir()
        for name, channels in zip(ARRAYS, (3, KEPT.stop), strict=True):
            shape = (*frames[:-1], channels)
            open_memmap(partial / f"{name}.npy", "w+", np.uint8, shape)
        jobs = [_Job(base, decoder, data, partial, subject, seed) for subject in range(count)]
        for _ in track(in_processes(_draw, jobs, workers or None), "drafts", total=count):
            pass
        made_by = {"base": folder_hash(base), "decoder": folder_hash(decoder), "seed": seed}
        write_json(partial / "meta.json", {"shard": file_hash(data / "meta.json"), **made_by})


@cache
def _model(base: Path, decoder: Path) -> DreamPosePipeline:
    """Base and decoder, drafts only."""
    model = load(str(base))
    model.register_modules(vae=AutoencoderDC.from_pretrained(decoder).eval(), detail=None)
    return model


def _draw(job: _Job) -> None:
    """One subject's rows of the arrays."""
    shard, model = open_shard(job.data), _model(job.base, job.decoder)
    rgb, iuv = np.array(shard.rgb[job.subject]), np.array(shard.iuv[job.subject])
    chosen = pick_references(shard, job.subject, job.seed)[:, 0]
    drafts, planes = (open_memmap(job.folder / f"{name}.npy", "r+") for name in ARRAYS)
    with one_thread():
        for clip, seen in enumerate(chosen):
            other = (clip + 1) % len(rgb)
            reference = model.look(rgb[other, seen], iuv[other, seen])
            condition = model.pose(reference, iuv[clip])
            drafts[job.subject, clip] = model(reference, condition, ONE_STEP)
            planes[job.subject, clip] = condition.pixels[:, KEPT].permute(0, 2, 3, 1)
    drafts.flush()
    planes.flush()
