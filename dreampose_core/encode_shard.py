"""Recipe, step 3: everything of the base's training data that does not change, computed once.

For every frame of a shard: latents, UV on the latent grid, part maps; and for every frame one
reference from the subject's other clip, warped into the frame's pose. Written as float16 arrays,
index (subject, clip, frame, …).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch.utils.data import DataLoader, Dataset

from common.files import publish, write_json
from common.progress import track
from common.shards import Shard, open_shard, views
from dreampose_core.conditioning import CLASS_MAP_CHANNELS, Conditioning
from dreampose_core.model import build
from dreampose_core.pixels import Autoencoder, encode, to_tensor
from dreampose_core.posemaps import on_grid, part_maps, uv_maps
from dreampose_core.warp import warp

ARRAYS = ("latents", "uv", "parts", "warped", "classes", "reference")
_FRONT_SHARE = 0.7


def pick_references(shard: Shard, subject: int, seed: int) -> np.ndarray:
    """For every frame (C, T) of a subject the frame of the other clip to see it from.

    Mostly one that shows the front, as photos do.
    """
    random = np.random.default_rng((seed, subject))
    _, clips, count = shard.shape
    chosen = np.zeros((clips, count), np.int64)
    for clip in range(clips):
        other = views(shard.yaw[subject, (clip + 1) % clips])
        front = np.flatnonzero(other == "front")
        mostly = front if len(front) and random.random() < _FRONT_SHARE else np.arange(count)
        chosen[clip] = random.choice([random.choice(mostly), random.integers(count)], count)
    return chosen


class WarpedSubjects(Dataset):
    """One item a subject: its frames, pose maps and warped references, ready to be encoded."""

    def __init__(self, shard: Shard, conditioning: Conditioning, count: int, seed: int):
        self.shard, self.conditioning, self.count, self.seed = shard, conditioning, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, subject: int) -> dict[str, torch.Tensor]:
        rgb, iuv = np.array(self.shard.rgb[subject]), np.array(self.shard.iuv[subject])
        references = pick_references(self.shard, subject, self.seed)
        grid = self.conditioning.grid
        warped = np.empty_like(rgb)
        classes = torch.empty(*rgb.shape[:2], CLASS_MAP_CHANNELS, *grid)
        for clip, row in enumerate(references):
            other = (clip + 1) % len(rgb)
            for seen in np.unique(row):
                (these,) = np.nonzero(row == seen)
                moved = warp(rgb[other, seen], iuv[other, seen], iuv[clip, these])
                warped[clip, these] = moved.frames
                classes[clip, these] = self.conditioning.class_maps(moved.shares)
        flat = iuv.reshape(-1, *iuv.shape[2:])
        return {
            "frames": torch.from_numpy(rgb.reshape(-1, *rgb.shape[2:])),
            "moved": torch.from_numpy(warped.reshape(flat.shape)),
            "classes": classes.flatten(0, 1).half(),
            "uv": on_grid(uv_maps(flat), grid).half(),
            "parts": part_maps(flat, grid).half(),
            "reference": torch.from_numpy(references).flatten(),
        }


@torch.no_grad()
def _encoded(vae: Autoencoder, item: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    arrays = {name: item[name].numpy() for name in ("uv", "parts", "classes", "reference")}
    both = to_tensor(np.concatenate([item["frames"].numpy(), item["moved"].numpy()]))
    parts = [encode(vae, part.to(vae.device)).half().cpu() for part in both.split(64)]
    latents, warped = torch.cat(parts).chunk(2)
    return arrays | {"latents": latents.numpy(), "warped": warped.numpy()}


def encode_shard(
    architecture: Path, vae: Path, data: Path, out: Path, subjects: int, seed: int, workers: int
) -> None:
    """Encode a shard's first `subjects` (0 for all) into a folder of arrays `out`."""
    shard = open_shard(data)
    count = subjects or shard.shape[0]
    model = build(architecture, seed)
    coder = type(model.vae).from_pretrained(vae).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    coder.to(device, memory_format=torch.channels_last)
    with publish(out) as partial:
        partial.mkdir()
        arrays: dict[str, np.ndarray] = {}
        dataset = WarpedSubjects(shard, model.conditioning, count, seed)
        items = DataLoader(dataset, batch_size=None, num_workers=workers)
        for subject, item in enumerate(track(items, "encoding", count)):
            for name, rows in _encoded(coder, item).items():
                if name not in arrays:
                    shape = (count, *shard.shape[1:], *rows.shape[1:])
                    arrays[name] = open_memmap(
                        partial / f"{name}.npy", mode="w+", dtype=rows.dtype, shape=shape
                    )
                arrays[name][subject] = rows.reshape(arrays[name].shape[1:])
        for array in arrays.values():
            array.flush()
        write_json(partial / "meta.json", {"shard": shard.key, "seed": seed})
