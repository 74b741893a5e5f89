"""The densepose stage: a frames folder to a dump."""

from __future__ import annotations

from pathlib import Path

from common.frames import frame_paths
from common.images import read_png
from common.progress import track
from densepose_prep.dump import write_dump
from densepose_prep.mini import MiniBackend


def densepose(frames: Path, out: Path, backend: str, weights: Path, batch_size: int) -> None:
    """Detect in every frame and write one dump, `file_name` being the frame's own name."""
    detector = {"mini": MiniBackend}[backend](weights, batch_size)
    paths = frame_paths(frames)
    named = ((path.name, read_png(path)) for path in paths)
    write_dump(out, list(track(detector.detect(named), "densepose", len(paths))), detector.origin)
