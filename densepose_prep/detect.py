"""The densepose stage: a frames folder to a dump."""

from __future__ import annotations

from pathlib import Path

from common.frames import frame_paths
from common.images import read_png
from common.progress import track
from densepose_prep.detectron2_backend import Detectron2Backend
from densepose_prep.dump import write_dump
from densepose_prep.mini import MiniBackend
from densepose_prep.rcnn.backend import RcnnBackend

Backend = MiniBackend | RcnnBackend | Detectron2Backend


def backend_of(name: str, weights: str, batch_size: int, persons: int) -> Backend:
    """A loaded backend. Raises InputError where weights or packages are missing."""
    if name == "rcnn":
        return RcnnBackend(weights, batch_size, persons)
    if name == "detectron2":
        return Detectron2Backend(weights, persons)
    return MiniBackend(Path(weights), batch_size)


def densepose(
    frames: Path, out: Path, backend: str, weights: str, batch_size: int, persons: int
) -> None:
    """Detect in every frame and write one dump, `file_name` being the frame's own name."""
    detector = backend_of(backend, weights, batch_size, persons)
    paths = frame_paths(frames)
    named = ((path.name, read_png(path)) for path in paths)
    write_dump(out, track(detector.detect(named), "densepose", len(paths)), detector.origin)
