"""What the viewer of a render should be warned of: read off poses and figures, pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from common.poses import PosesInfo
from common.words import spans_of

_SURE = 0.7
"""Detections with a lower score are called doubtful."""
_EDGE = 0.01
"""Share of a picture's side that counts as its edge."""
_DRIFT = {"background": 3.5, "person": 6.0}
"""ΔE from which a change of colour is worth a warning: over that of true clips, in which light and
shade change, and under that of broken ones (bench/colour_drift.py)."""
_FULL = ("left", "top", "right", "bottom")


def of_poses(who: str, info: PosesInfo) -> Iterator[str]:
    """Gaps that were filled, doubtful detections, a body that leaves the picture.

    `who` is how the text begins, e.g. "Driving clip".
    """
    total = len(info.frames)
    filled = [i for i, frame in enumerate(info.frames) if frame.filled]
    if filled:
        yield (
            f"{who}: nobody was found in {_frames(filled, total)}; their poses were filled in "
            "from the frames around."
        )
    doubtful = [i for i, f in enumerate(info.frames) if not f.filled and f.score < _SURE]
    if doubtful:
        lowest = min(info.frames[i].score for i in doubtful)
        yield (
            f"{who}: the person was found with little certainty in {_frames(doubtful, total)} "
            f"(lowest score {lowest:.2f})."
        )
    cut: dict[int, set[str]] = {
        i: sides for i, f in enumerate(info.frames) if (sides := _touched(f.box, info.size))
    }
    if cut:
        sides = " and ".join(side for side in _FULL if any(side in s for s in cut.values()))
        yield (
            f"{who}: the body is cut off at the {sides} edge in {_frames(list(cut), total)}; what "
            "lies outside is made up."
        )


def of_figures(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Colours that wander; true frames of another size."""
    for what, distance in (metrics.get("drift") or {}).items():
        if distance is not None and distance > _DRIFT.get(what, float("inf")):
            yield (
                f"Result: the colours of the {what} change over the clip "
                f"(ΔE {distance:.1f} from its start to its end)."
            )
    truth = metrics.get("truth") or {}
    if truth.get("resized"):
        high, wide = truth["size"]
        yield (
            f"Truth: its frames are {wide}×{high} and were brought to the result's size, so the "
            "figures tell nothing of finer detail."
        )


def _frames(indices: list[int], total: int) -> str:
    if total == 1:
        return "the photo"
    if len(indices) == total:
        return f"all {total} frames"
    return f"{len(indices)} of {total} frames ({spans_of(indices)})"


def _touched(box: tuple[float, ...] | None, size: tuple[int, int]) -> set[str]:
    """The edges of a picture of that size (height, width) that a box reaches."""
    if box is None:
        return set()
    high, wide = size
    gaps = (box[0] / wide, box[1] / high, 1 - box[2] / wide, 1 - box[3] / high)
    return {side for side, gap in zip(_FULL, gaps, strict=True) if gap < _EDGE}
