"""Backend `detectron2`: the packages themselves, in an environment of their own.

They want another OpenCV and torchvision than this project, so they run as a program
(`detectron2_program.py`) under the interpreter that the environment variable
`DREAMPOSE_DETECTRON2_PYTHON` names; by default under this one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.images import write_png
from densepose_prep import detectron2_program
from densepose_prep.dump import Detections, Origin, read_dump
from densepose_prep.rcnn.weights import load, local

PYTHON = "DREAMPOSE_DETECTRON2_PYTHON"
_HELP = "see whether its own apply_net.py runs there, or use the backend 'rcnn'"


class Detectron2Backend:
    """Detects by the real packages. Raises InputError where they are absent.

    The weights are read by this project first: detectron2 would run what a hostile file says.
    """

    def __init__(self, weights: str, persons: int):
        self.python = os.environ.get(PYTHON) or sys.executable
        if not installed(self.python):
            raise InputError(
                f"{self.python} has no detectron2 with DensePose",
                f"name an interpreter that has both in {PYTHON}, or use the backend 'rcnn', which "
                "gives the same poses",
            )
        self.weights, self.persons = local(weights), persons
        _, digest = load(self.weights)
        self.origin = Origin("densepose", "detectron2", digest)

    def detect(self, named_frames: Iterable[tuple[str, np.ndarray]]) -> Iterator[Detections]:
        """Detections of (file name, RGB uint8 (H, W, 3)) frames, in order."""
        options = {"--weights": self.weights, "--persons": self.persons}
        command = [self.python, detectron2_program.__file__, *chain(*options.items())]
        with (
            tempfile.TemporaryDirectory() as folder,
            open(Path(folder, "errors"), "w+") as errors,
            subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as program,
        ):
            picture = Path(folder, "frame.png")
            for name, frame in named_frames:
                write_png(picture, frame)
                with contextlib.suppress(BrokenPipeError):
                    print(picture, file=program.stdin, flush=True)
                if not program.stdout.readline():
                    errors.seek(0)
                    raise InputError(f"detectron2 ended at {name}: {_last(errors.read())}", _HELP)
                dump = picture.with_name("frame.png.pkl")
                (found,), _ = read_dump(dump)
                dump.unlink()
                yield replace(found, file_name=name)


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def installed(python: str) -> bool:
    """Whether an interpreter has both packages."""
    try:
        command = [python, "-c", "import detectron2, densepose"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
