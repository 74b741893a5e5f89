"""The verb `poses`: poses made elsewhere come in, ours go out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Poses:
    """Exchange poses with the reference implementation (frame_N_densepose.npy) and DensePose."""

    way: Annotated[Positional[Literal["import", "export"]], arg(metavar="import|export")]
    source: Annotated[Positional[Path], arg(metavar="SOURCE")]
    """a folder of frame_N_densepose.npy or a dump to import; poses or a dump to export"""
    out: Annotated[Path, arg(aliases=["-o"], metavar="DIR")]
    """the folder to write"""
    frames: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """the frames folder that the poses are of; a dump needs it"""

    def run(self) -> None:
        program = [sys.executable, "-m", "densepose_prep", f"{self.way}-poses"]
        frames = ["--frames", self.frames] if self.frames else []
        done = subprocess.run([*program, "--source", self.source, "--out", self.out, *frames])
        sys.exit(done.returncode)
