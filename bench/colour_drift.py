"""How far colours wander in true, made and broken clips: `python bench/colour_drift.py FOLDER`.

FOLDER is what `dreampose benchmark` leaves in `data/benchmark/full`. The report warns from the ΔE
in `tasks/concerns.py` on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from common.shards import open_shard
from dreampose_core.drift import Drift

METHODS = ("truth", "ours", "stretch", "published")


def drift(frames: np.ndarray, iuv: np.ndarray) -> dict[str, float]:
    """ΔE of background and person over one clip (T, H, W, 3)."""
    measure = Drift(len(frames))
    for frame, pose in zip(frames, iuv, strict=True):
        measure.add(np.ascontiguousarray(frame), pose)
    return measure.figures()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shard = open_shard(folder / "data")
    print("| | background: median, largest | person: median, largest |\n|---|---|---|")
    for method in METHODS:
        made = shard.rgb[:, 1:]
        if method != "truth":
            made = np.load(folder / "zero-shot" / f"{method}.npy", mmap_mode="r")
        found = [
            drift(made[row, clip], shard.iuv[row, clip + 1])
            for row in range(made.shape[0])
            for clip in range(made.shape[1])
        ]
        spread = (
            f"{np.median(values):.2f}, {max(values):.2f}"
            for values in ([f[what] for f in found] for what in ("background", "person"))
        )
        print(f"| {method} |", " | ".join(spread), "|")
