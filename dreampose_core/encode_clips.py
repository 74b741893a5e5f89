"""Everything of a dataset's clips that does not change while a base is trained, computed once.

`OUT/clips/SOURCE/` holds float16 arrays of one row a frame: `latents`, `tokens` (the image
encoder's), `uv` and, for models that use them, `parts`. Which reference goes with which target is
drawn in training, so what belongs to a pair is not here; models with a warp get `frames` and `iuv`
(uint8 at the model's size) to warp from. `OUT/encoded.json` names the clips of both parts.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from common.batches import Batches
from common.datasets import Clip, read_dataset
from common.errors import InputError
from common.files import file_hash, folder_hash, holds, publish, remove, write_json
from common.progress import Progress
from dreampose_core import conditioning, framing, pixels, posemaps, subject
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import clip_pixels, encode, to_tensor
from dreampose_core.posemaps import part_maps

INFO, CLIPS = "encoded.json", "clips"
_ENCODERS = ("vae", "image_encoder", "conditioning")
_CODE = (conditioning, framing, pixels, posemaps, subject, sys.modules[__name__])
"""What decides the arrays beside the encoders' weights."""


def encoders_hash(base: Path) -> str:
    """What of a base decides the arrays."""
    return "-".join(folder_hash(base / name) for name in _ENCODERS)


@torch.no_grad()
def encode_clip(model: DreamPosePipeline, clip: subject.Clip, batch_size: int) -> dict:
    """The arrays of one clip by name, `batch_size` frames at a time on the model's device."""

    def encoded(start: int, stop: int) -> dict:
        frames, iuv = (
            np.stack([pictures[index] for index in range(start, stop)])
            for pictures in (clip.frames, clip.iuv)
        )
        return _encoded(model, frames, iuv)

    parts = [part for _, part in Batches(batch_size)(len(clip.frames), encoded)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _encoded(model: DreamPosePipeline, frames: np.ndarray, iuv: np.ndarray) -> dict:
    images, config = to_tensor(frames).to(model.vae.device), model.conditioning.config
    seen = clip_pixels(images, model.image_encoder.config.image_size)
    tensors = {
        "latents": encode(model.vae, images),
        "tokens": model.image_encoder(seen).last_hidden_state,
        "uv": model.conditioning.uv(iuv),
    }
    if config.parts:
        tensors["parts"] = part_maps(iuv, model.conditioning.grid)
    arrays = {name: rows.half().cpu().numpy() for name, rows in tensors.items()}
    return arrays | ({"frames": frames, "iuv": iuv} if config.warp else {})


def encode_clips(base: Path, dataset: Path, out: Path, batch_size: int) -> None:
    """Encode a dataset's clips for a base into the folder `out`.

    A run that was killed goes on with the next clip, and clips that an older `out` holds are
    taken from there where neither they nor the base's encoders have changed.
    """
    listed = read_dataset(dataset)
    clips = listed.train + listed.test
    encoders = encoders_hash(base)
    code = [file_hash(Path(module.__file__)) for module in _CODE]
    model = load(str(base))
    for part in (model.vae, model.image_encoder):
        part.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    with publish(out, keep_partial=True) as partial, Progress("encoding", len(clips)) as progress:
        for clip in clips:
            made_of = {"encoders": encoders, "code": code, **_inputs(clip)}
            done = partial / CLIPS / clip.source
            if not holds(done / INFO, made_of):
                old = out / CLIPS / clip.source
                with publish(done) as folder:
                    if holds(old / INFO, made_of):
                        shutil.copytree(old, folder, copy_function=os.link)
                    else:
                        folder.mkdir()
                        pictures = subject.read_clip(model, Path(clip.frames), Path(clip.poses))
                        if len(pictures.frames) != clip.count:
                            raise InputError(
                                f"{clip.frames} is no longer as {dataset} lists it",
                                "run dreampose dataset again",
                            )
                        for name, rows in encode_clip(model, pictures, batch_size).items():
                            np.save(folder / f"{name}.npy", rows)
                        write_json(folder / INFO, made_of)
            progress.advance(note=clip.name)
        for folder in set((partial / CLIPS).iterdir()):
            if folder.name not in {clip.source for clip in clips}:
                remove(folder)
        train, test = (
            {clip.source: _inputs(clip) for clip in part} for part in (listed.train, listed.test)
        )
        write_json(partial / INFO, {"encoders": encoders, "train": train, "test": test})


def _inputs(clip: Clip) -> dict[str, object]:
    return {"count": clip.count, "frames": clip.frames_md5, "poses": clip.poses_md5}
