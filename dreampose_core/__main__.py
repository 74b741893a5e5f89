"""`python -m dreampose_core VERB`: every stage of the model as a program with explicit arguments.

Reading order: frames → base → finetune-unet, finetune-vae → sample → assemble → evaluate;
`train-autoencoder` and `train-base` are the recipe of the shipped weights.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.program import main


@dataclass(frozen=True)
class Frames:
    """A photo or clip to a frames folder."""

    input: Path
    out: Path
    fps: float = 0.0
    """frames per second to keep; 0 keeps the source's"""
    start: float = 0.0
    """seconds to skip"""
    end: float = 0.0
    """second to stop at; 0 is the end"""
    max_frames: int = 0
    """stop after so many frames; 0 keeps all"""
    max_side: int = 1280
    """scale down so that the longer side has at most so many pixels"""

    def run(self) -> None:
        from dreampose_core.extract import extract_frames

        extract_frames(**vars(self))


@dataclass(frozen=True)
class Assemble:
    """A samples folder to an mp4, the same bytes every time."""

    samples: Path
    out: Path
    crf: int = 16
    """x264 quality: lower is better and larger"""
    scale: int = 1
    """enlarge every pixel so many times"""

    def run(self) -> None:
        from dreampose_core.assemble import assemble

        assemble(**vars(self))


@dataclass(frozen=True)
class Evaluate:
    """Metrics and a contact sheet of a render."""

    samples: Path
    subject: Path
    """frames folder of the subject"""
    driving: Path
    """frames folder of the driving clip"""
    poses: Path
    """poses folder of the render"""
    out: Path
    truth: Path | None = None
    """frames folder of the true answer, where one exists"""
    columns: int = 6
    """frames on the contact sheet"""

    def run(self) -> None:
        from dreampose_core.evaluate import evaluate

        evaluate(**vars(self))


VERBS = {
    "frames": Frames,
    "assemble": Assemble,
    "evaluate": Evaluate,
}

if __name__ == "__main__":
    sys.exit(main("python -m dreampose_core", VERBS))
