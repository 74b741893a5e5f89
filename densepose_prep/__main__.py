"""`python -m densepose_prep VERB`: frames to IUV maps, as programs with explicit arguments.

Reading order: densepose → reformat → retarget; `train-iuv` and `evaluate-iuv` are the recipe of
the shipped backend.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.program import main


@dataclass(frozen=True)
class Densepose:
    """A frames folder to a DensePose dump."""

    frames: Path
    out: Path
    weights: Path
    backend: Literal["mini"] = "mini"
    batch_size: int = 8
    """frames at a time"""

    def run(self) -> None:
        from densepose_prep.detect import densepose

        densepose(**vars(self))


@dataclass(frozen=True)
class Reformat:
    """A dump to a poses folder: one IUV image a frame, one person through the clip."""

    dump: Path
    frames: Path
    out: Path
    person: Literal["largest"] = "largest"
    preview: Path | None = None
    """also write an overlay sheet to look at"""

    def run(self) -> None:
        from densepose_prep.reformat import reformat

        reformat(**vars(self))


@dataclass(frozen=True)
class Retarget:
    """Driving poses into the subject's frame."""

    poses: Path
    subject: Path
    """poses folder of the subject"""
    out: Path
    mode: Literal["align", "none"] = "align"
    """align matches height, feet and middle; none letterboxes the whole driving frame"""

    def run(self) -> None:
        from densepose_prep.retarget import retarget

        retarget(**vars(self))


@dataclass(frozen=True)
class TrainIuv:
    """Recipe: the small IUV network on a mannequin shard."""

    data: Path
    validation: Path
    out: Path
    steps: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    ema_decay: float = 0.995
    mixed_precision: str = "no"
    """no, bf16 or fp16"""
    seed: int = 0
    checkpoint_every: int = 500
    evaluate_every: int = 0

    def run(self) -> None:
        from common.training import TrainingSettings
        from densepose_prep.train_iuv import train_iuv

        values = dict(vars(self))
        folders = {name: values.pop(name) for name in ("data", "validation", "out")}
        train_iuv(**folders, settings=TrainingSettings(**values))


@dataclass(frozen=True)
class EvaluateIuv:
    """Part IoU and U, V error of the IUV network on a shard, clean and degraded."""

    weights: Path
    data: Path
    out: Path
    seed: int = 0
    """of the degradation"""

    def run(self) -> None:
        from densepose_prep.train_iuv import evaluate_iuv

        evaluate_iuv(**vars(self))


VERBS = {
    "densepose": Densepose,
    "reformat": Reformat,
    "retarget": Retarget,
    "train-iuv": TrainIuv,
    "evaluate-iuv": EvaluateIuv,
}

if __name__ == "__main__":
    sys.exit(main("python -m densepose_prep", VERBS))
