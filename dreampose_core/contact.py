"""Contact sheets: labelled rows of pictures under captions."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_WIDEST = 1.5
"""Cells are at most so many times as wide as high."""
_FONT, _MARGIN, _GAP, _LABELS = 20, 16, 6, 90


def cell(image: np.ndarray, height: int, *, smooth: bool) -> np.ndarray:
    """A picture scaled to a cell's height, or less where it would be wider than cells may be."""
    scale = min(height / image.shape[0], _WIDEST * height / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    if not smooth:
        return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def lay_out(rows: dict[str, list[np.ndarray]], captions: list[str], footer: str) -> np.ndarray:
    """Rows of cells, centred, on white; labels to the left, captions above the second row."""
    cells = [cell for row in rows.values() for cell in row]
    high, wide = max(c.shape[0] for c in cells), max(c.shape[1] for c in cells)
    line = _FONT + 2 * _GAP
    left = _MARGIN + _LABELS
    tops = [_MARGIN + r * (high + _GAP) + (line if r else 0) for r in range(len(rows))]
    size = (
        left + len(captions) * (wide + _GAP) - _GAP + _MARGIN,
        tops[-1] + high + line + _MARGIN,
    )
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for (name, row), top in zip(rows.items(), tops, strict=True):
        draw.text((_MARGIN, top + high // 2), name, "black", font, anchor="lm")
        for column, cell in enumerate(row):
            x = left + column * (wide + _GAP) + (wide - cell.shape[1]) // 2
            sheet.paste(Image.fromarray(cell), (x, top + (high - cell.shape[0]) // 2))
    for column, caption in enumerate(captions):
        middle = left + column * (wide + _GAP) + wide // 2
        draw.text((middle, tops[1] - line // 2), caption, "dimgray", font, anchor="mm")
    draw.text((left, size[1] - _MARGIN - line // 2), footer, "black", font, anchor="lm")
    return np.asarray(sheet)
