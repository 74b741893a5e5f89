"""The dump format of DensePose's `apply_net.py dump`, written and safely read without detectron2.

A dump is `torch.save` of a list with one dict an image: `file_name`, `scores` (N,) float32,
`pred_boxes_XYXY` (N, 4) float32 in image pixels and `pred_densepose`, a list of N
`DensePoseChartResultWithConfidences`; with no person that last key is absent. Our own dumps also
carry the keys of `Origin` in every entry, which readers of the format ignore. A long clip's dump is
larger than memory: it is written through files and read where it lies.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import IO, Any, get_args

import numpy as np
import torch
from torch import Tensor

from common.errors import InputError
from common.files import publish
from common.poses import PARTS, Chart

_RESULT_MODULE = "densepose.structures.chart_result"
_RESULT_CLASS = "DensePoseChartResultWithConfidences"
_REMEDY = "make it with: python -m densepose_prep densepose, or with DensePose's apply_net.py dump"


@dataclass(frozen=True)
class Origin:
    """Where a dump comes from; dumps that do not say were made by DensePose itself."""

    chart: Chart = "densepose"
    backend: str = "detectron2"
    weights: str = ""
    """hash of the backend's weights"""


@dataclass
class ChartResult:
    """One person's surface: labels (h, w) int64 in 0..24 and uv (2, h, w) float32, 0 off the body.

    h, w are the truncated box size; DensePose does not clamp U and V to 0..1.
    """

    labels: Tensor
    uv: Tensor


@dataclass
class Detections:
    """The N persons found in one image; scores (N,), boxes (N, 4) as x0, y0, x1, y1 in pixels."""

    file_name: str
    scores: Tensor
    boxes: Tensor
    results: list[ChartResult]


class _DumpedResult:
    """What the pickle holds: the attributes of DensePose's class under DensePose's name."""

    def __init__(self, result: ChartResult):
        self.labels, self.uv = result.labels, result.uv
        self.sigma_1 = self.sigma_2 = self.kappa_u = self.kappa_v = None
        self.fine_segm_confidence = self.coarse_segm_confidence = None


_DumpedResult.__module__ = _RESULT_MODULE
_DumpedResult.__name__ = _DumpedResult.__qualname__ = _RESULT_CLASS


@contextmanager
def _importable() -> Iterator[None]:
    """Let pickle find `_DumpedResult` under its foreign name while a dump is written."""
    parents = _RESULT_MODULE.split(".")
    names = [".".join(parents[: depth + 1]) for depth in range(len(parents))]
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update({name: ModuleType(name) for name in names})
    setattr(sys.modules[_RESULT_MODULE], _RESULT_CLASS, _DumpedResult)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def write_dump(path: Path, images: Iterable[Detections], origin: Origin) -> None:
    """Write a whole dump atomically; the same detections give the same bytes.

    One image is in memory at a time: labels and uv gather in two files, and the dump's tensors are
    pieces of these.
    """
    entries: list[dict[str, Any]] = []
    shapes: list[tuple[torch.Size, torch.Size]] = []
    with (
        publish(path) as partial,
        tempfile.TemporaryFile(dir=partial.parent) as labels,
        tempfile.TemporaryFile(dir=partial.parent) as uv,
    ):
        for image in images:
            entry: dict[str, Any] = {
                "file_name": image.file_name,
                "scores": image.scores.to(torch.float32),
                "pred_boxes_XYXY": image.boxes.to(torch.float32).reshape(-1, 4),
            }
            for result in image.results:
                labels.write(result.labels.to(torch.int64).contiguous().numpy().data)
                uv.write(result.uv.to(torch.float32).contiguous().numpy().data)
                shapes.append((result.labels.shape, result.uv.shape))
            if image.results:
                entry["pred_densepose"] = len(image.results)
            entries.append(entry | asdict(origin))
        pieces = zip(
            _pieces(_mapped(labels, np.int64), [own for own, _ in shapes]),
            _pieces(_mapped(uv, np.float32), [own for _, own in shapes]),
            strict=True,
        )
        for entry in entries:
            if "pred_densepose" in entry:
                own = islice(pieces, entry["pred_densepose"])
                entry["pred_densepose"] = [_DumpedResult(ChartResult(*piece)) for piece in own]
        with open(partial, "wb") as stream, _importable():
            torch.save(entries, stream)


def _mapped(file: IO[bytes], kind: type[np.generic]) -> Tensor:
    """All values (N,) of a file, left on disk."""
    file.flush()
    if not file.tell():
        return torch.from_numpy(np.empty(0, kind))
    return torch.from_numpy(np.memmap(file, kind, "r+"))


def _pieces(values: Tensor, shapes: Iterable[torch.Size]) -> Iterator[Tensor]:
    """Views of the values of all tensors as the single ones."""
    start = 0
    for shape in shapes:
        yield values[start : start + shape.numel()].view(shape)
        start += shape.numel()


def read_dump(path: Path) -> tuple[list[Detections], Origin]:
    """Read a dump in its own order; the results stay on disk until they are looked at.

    Raises InputError where it is none, or would run code.
    """
    allowed = (_DumpedResult, f"{_RESULT_MODULE}.{_RESULT_CLASS}")
    try:
        with torch.serialization.safe_globals([allowed]):
            mapped = zipfile.is_zipfile(path)
            entries = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        images = [_detections(entry) for entry in entries]
        origin = _origin(entries)
    except Exception as error:  # the reader raises anything on a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a readable DensePose dump ({reason})", _REMEDY) from None
    if not images:
        raise InputError(f"the dump {path} holds no image", _REMEDY)
    return images, origin


def _origin(entries: list[dict[str, Any]]) -> Origin:
    names = [field.name for field in fields(Origin)]
    origins = {Origin(**{n: entry[n] for n in names if n in entry}) for entry in entries}
    if len(origins) > 1:
        raise ValueError("its images come from different backends")
    origin = origins.pop() if origins else Origin()
    if origin.chart not in get_args(Chart):
        raise ValueError(f"unknown chart {origin.chart!r}")
    return origin


def _detections(entry: dict[str, Any]) -> Detections:
    """One entry, checked. Raises ValueError or KeyError where it is malformed."""
    scores, boxes = entry["scores"], entry["pred_boxes_XYXY"]
    results = [ChartResult(r.labels, r.uv) for r in entry.get("pred_densepose", [])]
    if scores.shape != (len(results),) or boxes.shape != (len(results), 4):
        raise ValueError(f"{len(results)} persons with {scores.shape[0]} scores")
    if not torch.isfinite(boxes).all():
        raise ValueError("a box is not finite")
    for result in results:
        labels, uv = result.labels, result.uv
        if labels.dtype != torch.int64 or uv.shape != (2, *labels.shape) or labels.dim() != 2:
            raise ValueError(f"labels {tuple(labels.shape)} with uv {tuple(uv.shape)}")
        if labels.numel() and not 0 <= labels.min() <= labels.max() <= PARTS:
            raise ValueError(f"part index {int(labels.max())}")
        if not torch.isfinite(uv).all():
            raise ValueError("U, V are not finite")
    return Detections(str(entry["file_name"]), scores, boxes, results)
