"""Pictures as arrays: RGB uint8 (H, W, 3) in memory, PNG on disk, letterboxing, sheets.

`Fit` is the one description of how a picture of any size is brought to the model's size and
back: scale evenly, centre, pad. The same `Fit` moves frames, IUV images and results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""


def read_png(path: Path) -> np.ndarray:
    """Read an image file as RGB uint8 (H, W, 3). Raises InputError if it cannot be decoded."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"cannot read the picture {path}", "is it there, and a PNG or JPEG?")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write RGB (H, W, 3) or grey (H, W) uint8 as PNG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    ok, data = cv2.imencode(".png", bgr)
    if not ok:
        raise InputError(f"cannot encode {path}", "check the picture's size and type")
    Path(path).write_bytes(data.tobytes())


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Lay RGBA uint8 (H, W, 4), alpha not premultiplied, on white: RGB uint8 (H, W, 3)."""
    colour, alpha = rgba[..., :3].astype(np.uint32), rgba[..., 3:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


@dataclass(frozen=True)
class Fit:
    """An even scaling of `crop` (x0, y0, x1, y1 in source pixels) into the middle of `size`."""

    source: Size
    size: Size
    crop: tuple[int, int, int, int]

    @classmethod
    def whole(cls, source: Size, size: Size) -> Fit:
        """Fit the whole source picture."""
        return cls(source, size, (0, 0, source[1], source[0]))

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """Where the crop lies in the fitted picture: x0, y0, x1, y1."""
        height, width = self.size
        crop_height, crop_width = self.crop[3] - self.crop[1], self.crop[2] - self.crop[0]
        scale = min(height / crop_height, width / crop_width)
        inner_height = min(height, max(1, round(crop_height * scale)))
        inner_width = min(width, max(1, round(crop_width * scale)))
        x0, y0 = (width - inner_width) // 2, (height - inner_height) // 2
        return x0, y0, x0 + inner_width, y0 + inner_height

    def apply(self, image: np.ndarray, *, labels: bool = False) -> np.ndarray:
        """Source picture (H, W, C) to `size`.

        The padding repeats the edge. With `labels` (IUV images) nearest pixels are taken and
        the padding is 0.
        """
        x0, y0, x1, y1 = self.crop
        cut = image[y0:y1, x0:x1]
        ix0, iy0, ix1, iy1 = self.inner
        shape = (ix1 - ix0, iy1 - iy0)
        smaller = shape[0] < cut.shape[1]
        how = cv2.INTER_NEAREST if labels else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        scaled = cut if cut.shape[1::-1] == shape else cv2.resize(cut, shape, interpolation=how)
        height, width = self.size
        border = cv2.BORDER_CONSTANT if labels else cv2.BORDER_REPLICATE
        return cv2.copyMakeBorder(scaled, iy0, height - iy1, ix0, width - ix1, border, value=0)

    def undo(self, fitted: np.ndarray) -> np.ndarray:
        """Fitted picture (*size, C) back to the crop's own pixels (crop height, width, C)."""
        ix0, iy0, ix1, iy1 = self.inner
        cut = fitted[iy0:iy1, ix0:ix1]
        shape = (self.crop[2] - self.crop[0], self.crop[3] - self.crop[1])
        if cut.shape[1::-1] == shape:
            return np.ascontiguousarray(cut)
        how = cv2.INTER_AREA if shape[0] < cut.shape[1] else cv2.INTER_CUBIC
        return cv2.resize(cut, shape, interpolation=how)


def sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Contact sheet (H, W, 3) uint8 of rows of RGB pictures; shorter rows are padded white."""
    cells = [cell for row in rows for cell in row]
    height = max(cell.shape[0] for cell in cells)
    width = max(cell.shape[1] for cell in cells)
    columns = max(len(row) for row in rows)
    canvas = np.full(
        (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8
    )
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            y, x = r * (height + gap), c * (width + gap)
            canvas[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return canvas
