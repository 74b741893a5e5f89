"""A sweep over the two guidance strengths: one frame under every pair, as a grid of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import InputError
from common.images import write_png
from common.progress import track
from common.settings import Sampling
from dreampose_core.contact import cell, lay_out
from dreampose_core.scene import Inputs, Scene

_HIGH = 256


def sweep(
    given: Inputs,
    out: Path,
    settings: Sampling,
    scheduler: str,
    s1: Sequence[float],
    s2: Sequence[float],
    frame: int,
    half: bool,
) -> None:
    """Write the grid, a row an `s1` and a column an `s2`.

    Raises InputError at a frame that is not there.
    """
    scene = Scene.open(given, scheduler, half=half)
    if not 0 <= frame < len(scene.poses):
        raise InputError(f"there is no frame {frame}", f"give 0 to {len(scene.poses) - 1}")
    condition = scene.condition(frame, frame + 1)
    rows = {"subject": [scene.reference.image]}
    for image in track(s1, "sweep"):
        pairs = [replace(settings, s1=image, s2=pose) for pose in s2]
        rows[f"s1 {image:g}"] = [scene.model(scene.reference, condition, pair)[0] for pair in pairs]
    cells = {name: [cell(p, _HIGH, smooth=True) for p in row] for name, row in rows.items()}
    footer = f"frame {frame}, {settings.steps} steps, seed {settings.seed}"
    write_png(out, lay_out(cells, [f"s2 {pose:g}" for pose in s2], footer))
