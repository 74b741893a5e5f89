"""IUV images to the network's pose channels.

The paper's channels are the UV maps of frames i−2 … i+2 on the latent grid. `part_maps` is a
departure that helps small models: which part covers how much of each quarter of a latent cell.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common.poses import PARTS

PART_MAP_CHANNELS = 4 * (PARTS + 1 + 2)


def uv_maps(iuv: np.ndarray) -> Tensor:
    """IUV uint8 (T, H, W, 3) to UV maps (T, 2, H, W) in [0, 1], 0 on the background."""
    maps = torch.from_numpy(np.ascontiguousarray(iuv)).permute(0, 3, 1, 2)
    return maps[:, 1:].float() / 255 * (maps[:, :1] > 0)


def on_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Area-resize maps (T, C, H, W) to the latent grid (T, C, h, w)."""
    return F.interpolate(maps, grid, mode="area")


def window_indices(count: int, window: int) -> Tensor:
    """Frame numbers (count, window) of each frame's neighbourhood, clamped at the clip's ends."""
    reach = window // 2
    around = torch.arange(count)[:, None] + torch.arange(-reach, reach + 1)[None]
    return around.clamp(0, count - 1)


def window(maps: np.ndarray, index: int, size: int) -> Tensor:
    """The window (1, size·C, h, w) of frame `index` alone, of maps (T, C, h, w) in a file, say."""
    around = window_indices(len(maps), size)[index].numpy()
    return torch.from_numpy(maps[around]).float().flatten(0, 1)[None]


def windows(maps: Tensor, window: int) -> Tensor:
    """Maps (T, C, h, w) to (T, window·C, h, w): frame i−k, …, i, …, i+k behind one another."""
    return maps[window_indices(len(maps), window)].flatten(1, 2)


def part_maps(iuv: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """IUV uint8 (T, H, W, 3) to (T, 108, h, w): 25 part shares and mean U, V of 2×2 sub-cells."""
    fine = (2 * grid[0], 2 * grid[1])
    index = torch.from_numpy(np.ascontiguousarray(iuv[..., 0])).long()
    parts = F.one_hot(index, PARTS + 1).permute(0, 3, 1, 2).float()
    shares = on_grid(parts, fine)
    body = 1 - shares[:, :1]
    uv = on_grid(uv_maps(iuv), fine) / (body + 1e-3)
    return F.pixel_unshuffle(torch.cat([shares, uv], 1), 2)
