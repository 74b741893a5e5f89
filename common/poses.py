"""The poses folder: `000000_iuv.png` … the field's IUV image, plus `poses.json`.

An IUV array is uint8 (H, W, 3): channel 0 the part index 0–24 (0 background), channels 1 and 2
U and V as 0–255. On disk the channel order is the field's (DensePose writes and reads these
images with OpenCV): `cv2.imread(path)` gives I, U, V.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from common.errors import InputError
from common.files import write_json
from common.frames import frame_name
from common.images import Size

INFO = "poses.json"
PARTS = 24
Chart = Literal["densepose", "mannequin"]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the frame."""


@dataclass(frozen=True)
class FramePose:
    """One frame's detection; `filled` marks a gap that was filled from its neighbours."""

    box: Box | None
    score: float
    filled: bool = False


@dataclass(frozen=True)
class PosesInfo:
    """What `poses.json` says.

    `chart` names the surface parametrisation of U and V, `weights` is the hash of the backend's
    weights, `crop` the clip-constant person crop (x0, y0, x1, y1 in frame pixels) or None.
    """

    chart: Chart
    backend: str
    weights: str = ""
    fps: str = "1"
    size: Size = (0, 0)
    crop: tuple[int, int, int, int] | None = None
    frames: list[FramePose] = field(default_factory=list)


def write_poses(folder: Path, iuvs: Iterable[np.ndarray], info: PosesInfo) -> PosesInfo:
    """Write IUV images uint8 (H, W, 3) and `poses.json`; returns `info` with the size filled.

    Give it a `publish()` path. `info.frames` may be empty: boxes are then read off the images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[FramePose] = []
    size: Size = (0, 0)
    for index, iuv in enumerate(iuvs):
        size = (int(iuv.shape[0]), int(iuv.shape[1]))
        found.append(FramePose(part_box(iuv), 1.0))
        ok, data = cv2.imencode(".png", iuv)
        if not ok:
            raise InputError(f"cannot encode pose {index}", "give uint8 IUV images")
        (folder / frame_name(index, "_iuv.png")).write_bytes(data.tobytes())
    info = replace(info, size=size, frames=info.frames or found)
    if len(info.frames) != len(found) or not found:
        raise InputError(
            f"{len(found)} IUV images for {len(info.frames)} frames", "give one for each frame"
        )
    write_json(folder / INFO, asdict(info))
    return info


def read_info(folder: Path) -> PosesInfo:
    """Read `poses.json`. Raises InputError where `folder` is not a poses folder."""
    try:
        values = json.loads((Path(folder) / INFO).read_text(encoding="utf-8"))
        frames = [
            FramePose(tuple(f["box"]) if f["box"] else None, f["score"], f["filled"])
            for f in values["frames"]
        ]
        crop = tuple(values["crop"]) if values["crop"] else None
        return PosesInfo(
            **{**values, "size": tuple(values["size"]), "crop": crop, "frames": frames}
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{folder} is not a poses folder ({error})",
            "make one with: python -m densepose_prep densepose, then reformat",
        ) from None


def pose_paths(folder: Path) -> list[Path]:
    """Paths of all IUV images in order."""
    return [
        Path(folder) / frame_name(index, "_iuv.png")
        for index in range(len(read_info(folder).frames))
    ]


def read_iuv(path: Path) -> np.ndarray:
    """One IUV image uint8 (H, W, 3) in the order I, U, V."""
    iuv = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if iuv is None:
        raise InputError(f"cannot read the IUV image {path}", "make the poses folder again")
    if iuv[..., 0].max() > PARTS:
        raise InputError(
            f"{path} is not an IUV image: part index {iuv[..., 0].max()}",
            "the blue channel must hold the part, 0–24",
        )
    return iuv


def read_poses(folder: Path) -> np.ndarray:
    """All IUV images (T, H, W, 3) uint8."""
    return np.stack([read_iuv(path) for path in pose_paths(folder)])


def part_box(iuv: np.ndarray) -> Box | None:
    """Bounding box of the person in an IUV image, or None where there is none."""
    rows, columns = np.flatnonzero(iuv[..., 0].any(1)), np.flatnonzero(iuv[..., 0].any(0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def require_chart(chart: str, wanted: str, what: str) -> None:
    """Refuse to mix surface charts: raises InputError where `chart` is not `wanted`."""
    if chart != wanted:
        raise InputError(
            f"{what} has poses of the chart '{chart}', the model wants '{wanted}'",
            "use the DensePose backend that belongs to the model: densepose.backend in "
            "params.yaml ('mini' for the embedded model, 'rcnn' or 'detectron2' for sd14)",
        )


def colour(iuv: np.ndarray) -> np.ndarray:
    """RGB uint8 (…, H, W, 3) for looking at: the part as hue, V and U as shade."""
    hue = (np.arange(PARTS + 1) * 0.381966 % 1 * 180).astype(np.uint8)
    hsv = np.stack([hue, np.full_like(hue, 190), np.full_like(hue, 255)], -1)[None]
    palette = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].astype(np.float32)
    palette[0] = 0
    shade = (0.45 + 0.55 * iuv[..., 1:2] / 255) * (0.6 + 0.4 * iuv[..., 2:3] / 255)
    return (palette[iuv[..., 0]] * shade).astype(np.uint8)
