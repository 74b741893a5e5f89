"""The moving pictures of a report: one small film with all clips of a render side by side.

One film and not several players: what is in one picture cannot get out of step. The page cuts it
into its panels again.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.frames import read_info
from common.images import Fit, Size, read_png
from common.video import write_video

_HIGH, _WIDEST = 360, 1.8
"""Panels are so many pixels high and at most so many times as wide."""
_CRF, _JPEG = 21, 85
MOST_FRAMES = 600
"""A longer clip is shown up to here: a page is no place for more."""


@dataclass(frozen=True)
class Panel:
    """Pictures by frame: `read(index)` gives RGB uint8 (*size, 3). `labels` are not smoothed."""

    name: str
    size: Size
    read: Callable[[int], np.ndarray]
    labels: bool = False


@dataclass(frozen=True)
class Film:
    """An mp4 as a data URI, its frames, and where each panel lies in it: name, x, width."""

    uri: str
    frames: int
    rate: float
    high: int
    places: list[tuple[str, int, int]]


def film(panels: Sequence[Panel], samples: Path) -> Film:
    """The panels side by side, as many frames and as fast as the frames folder `samples`."""
    info = read_info(samples)
    count = min(info.count, MOST_FRAMES)
    fits = [Fit.whole(panel.size, panel_size(panel.size)) for panel in panels]

    def pictures() -> Iterator[np.ndarray]:
        for index in range(count):
            yield np.hstack([_fitted(p, fit, index) for p, fit in zip(panels, fits, strict=True)])

    widths = [fit.size[1] for fit in fits]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "film.mp4")
        write_video(out, pictures(), (_HIGH, sum(widths)), info.fps, "", crf=_CRF)
        uri = _data_uri("video/mp4", out.read_bytes())
    starts = np.cumsum([0, *widths[:-1]]).tolist()
    places = [(p.name, x, w) for p, x, w in zip(panels, starts, widths, strict=True)]
    return Film(uri, count, float(info.rate), _HIGH, places)


def panel_size(size: Size, high: int = _HIGH) -> Size:
    """How large pictures of a size are shown: the width even, as video wants it."""
    wide = min(_WIDEST, size[1] / size[0]) * high
    return high, max(2, round(wide / 2) * 2)


def _fitted(panel: Panel, fit: Fit, index: int) -> np.ndarray:
    return fit.apply(panel.read(index), labels=panel.labels)


@dataclass(frozen=True)
class Still:
    """A picture as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def still(path: Path, high: int | None = _HIGH) -> Still:
    """A picture file, brought to a panel of that height; None leaves it as it is."""
    image = read_png(path)
    if high:
        image = Fit.whole(image.shape[:2], panel_size(image.shape[:2], high)).apply(image)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
    return Still(_data_uri("image/jpeg", data.tobytes()), image.shape[1], image.shape[0])


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
