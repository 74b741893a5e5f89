"""The frames folder: `000000.png` … RGB uint8, all one size, plus `frames.json`.

`frames.json` holds what the pictures cannot: the source's frame rate as a fraction, the time
stamps where the source varies, the rotation that was applied, whether HDR was tone-mapped,
whether there is audio, and how many seconds of the source come before the first frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import write_json
from common.images import Size, read_png, write_png

INFO = "frames.json"


@dataclass(frozen=True)
class FramesInfo:
    """What `frames.json` says.

    `fps` is a fraction like "30000/1001", `size` (height, width) in pixels, `timestamps` seconds
    from the first frame (None: evenly spaced), `rotation` the clockwise degrees applied.
    """

    fps: str
    size: Size = (0, 0)
    count: int = 0
    timestamps: list[float] | None = None
    rotation: int = 0
    tone_mapped: bool = False
    audio: bool = False
    start: float = 0.0

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.fps)


def frame_name(index: int, suffix: str = ".png") -> str:
    """File name of frame `index`, e.g. `000007.png`."""
    return f"{index:06d}{suffix}"


def write_frames(folder: Path, frames: Iterable[np.ndarray], info: FramesInfo) -> FramesInfo:
    """Write RGB uint8 (H, W, 3) frames one by one; returns `info` with size and count filled.

    Give it a `publish()` path: the folder is created here and is whole only at the end.
    Raises InputError where there is no frame or where sizes differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size, count = None, 0
    for count, frame in enumerate(frames, start=1):
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            raise InputError(
                f"frame {count - 1} is {frame.shape[1]}×{frame.shape[0]}, the first one "
                f"{size[1]}×{size[0]}",
                "give frames of one size",
            )
        write_png(folder / frame_name(count - 1), frame)
    if size is None:
        raise InputError("there is no frame in the input", "give a photo or a clip with frames")
    info = replace(info, size=tuple(map(int, size)), count=count)
    write_info(folder, info)
    return info


def write_info(folder: Path, info: FramesInfo) -> None:
    """Write `frames.json` alone: for what is known only after the last frame."""
    write_json(folder / INFO, asdict(info))


def read_info(folder: Path) -> FramesInfo:
    """Read `frames.json`. Raises InputError where `folder` is not a frames folder."""
    try:
        values = json.loads((Path(folder) / INFO).read_text(encoding="utf-8"))
        return FramesInfo(**{**values, "size": tuple(values["size"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{folder} is not a frames folder ({error})",
            "make one with: python -m dreampose_core frames --input FILE --out DIR",
        ) from None


def frame_paths(folder: Path) -> list[Path]:
    """Paths of all frames in order. Raises InputError where one is missing."""
    paths = [Path(folder) / frame_name(index) for index in range(read_info(folder).count)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise InputError(
            f"{folder} lacks {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1)),
            "make the folder again",
        )
    return paths


def read_frames(folder: Path) -> np.ndarray:
    """All frames (T, H, W, 3) RGB uint8: for short clips; stream `frame_paths` for long ones."""
    return np.stack([read_png(path) for path in frame_paths(folder)])
