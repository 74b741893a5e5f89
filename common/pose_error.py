"""How far IUV maps are from those asked for: one confusion matrix over all pixels of all frames.

Counting pixels together, and not averaging frames, keeps small and rarely seen parts from
deciding alone. IUV is uint8 (…, 3): part 0–24, then U and V as 0–255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.poses import PARTS

LABELS = PARTS + 1


@dataclass(frozen=True)
class PoseError:
    """Counted pixels (25, 25), asked × found; |ΔU|, |ΔV| (2,), 0–1, summed where parts agree."""

    counts: np.ndarray
    apart: np.ndarray

    def __add__(self, other: PoseError) -> PoseError:
        return PoseError(self.counts + other.counts, self.apart + other.apart)


NO_PIXELS = PoseError(np.zeros((LABELS, LABELS), np.int64), np.zeros(2))


def pose_error(found: np.ndarray, asked: np.ndarray) -> PoseError:
    """Compare IUV maps of one shape, pixel by pixel."""
    cell = asked[..., 0].astype(np.int64) * LABELS + found[..., 0]
    counts = np.bincount(cell.ravel(), minlength=LABELS**2).reshape(LABELS, LABELS)
    right = (asked[..., 0] == found[..., 0]) & (found[..., 0] > 0)
    difference = found[right][:, 1:].astype(np.float64) - asked[right][:, 1:]
    return PoseError(counts, np.abs(difference).sum(0) / 255)


def part_iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of the parts 1–24 (24,); NaN where a part occurs in neither."""
    right = np.diag(counts).astype(float)
    union = counts.sum(0) + counts.sum(1) - right
    return np.divide(right, union, np.full(LABELS, np.nan), where=union > 0)[1:]


def summary(error: PoseError) -> dict[str, float]:
    """Mean IoU of the parts that occur, silhouette IoU, mean |ΔU|, |ΔV| where the part is right.

    NaN where no pixel tells.
    """
    counts, parts = error.counts, part_iou(error.counts)
    right, union = np.diag(counts)[1:].sum(), counts.sum() - counts[0, 0]
    u, v = error.apart / right if right else (np.nan, np.nan)
    return {
        "part_iou": float(np.nanmean(parts)) if union else np.nan,
        "silhouette_iou": float(counts[1:, 1:].sum() / union) if union else np.nan,
        "u_error": float(u),
        "v_error": float(v),
    }
