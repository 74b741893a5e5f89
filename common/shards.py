"""Training data of the recipe: a shard folder of many short clips as memory-mapped arrays.

`rgb.npy` and `iuv.npy` are (S, C, T, H, W, 3) uint8: S subjects, C clips of each, T frames;
`yaw.npy` (S, C, T) is the body's turn in radians, 0 facing the camera.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import file_hash


@dataclass(frozen=True)
class Shard:
    """One shard folder; arrays stay on disk."""

    rgb: np.ndarray
    iuv: np.ndarray
    yaw: np.ndarray
    meta: dict
    key: str
    """hash of `meta.json`, which names seeds and generator"""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Subjects, clips a subject, frames a clip."""
        return self.rgb.shape[:3]

    def balance(self) -> np.ndarray:
        """Probability (S, C, T) of every frame so that front, side and back come equally often.

        Clips face the camera most of the time; what turns away is what is hard.
        """
        _, kind, count = np.unique(views(self.yaw), return_inverse=True, return_counts=True)
        return (1 / (len(count) * count[kind])).reshape(self.yaw.shape)


def open_shard(folder: Path) -> Shard:
    """Open a shard. Raises InputError where the folder is not one."""
    try:
        rgb, iuv, yaw = (
            np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("rgb", "iuv", "yaw")
        )
        meta = Path(folder) / "meta.json"
        return Shard(rgb, iuv, yaw, json.loads(meta.read_text()), file_hash(meta))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is not a shard ({error})", "make one with: python -m mannequin dataset"
        ) from None


def views(yaw: np.ndarray) -> np.ndarray:
    """Which side of the body faces the camera: "front" (under 45°), "side", "back" (over 135°)."""
    turn = np.abs(np.angle(np.exp(1j * yaw)))
    return np.select([turn < np.pi / 4, turn > 3 * np.pi / 4], ["front", "back"], "side")
