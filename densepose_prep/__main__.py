"""`python -m densepose_prep VERB`: frames to IUV maps, as programs with explicit arguments.

Reading order: densepose → reformat → retarget; `repose` looks at the outcome. `import-poses` and
`export-poses` exchange poses with the reference implementation; `train-iuv` and `evaluate-iuv` are
the recipe of the shipped backend; `estimate` serves the benchmark.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.program import main
from common.settings import TrainingSettings, group


@dataclass(frozen=True, kw_only=True)
class Detector:
    """What finds persons."""

    weights: str
    """mini: a folder; rcnn and detectron2: the official file or its address"""
    backend: Literal["mini", "rcnn", "detectron2"] = "mini"
    batch_size: int = 8
    """frames at a time"""
    persons: int = 4
    """at most so many a frame, the surest first; mini sees one"""


@dataclass(frozen=True, kw_only=True)
class Densepose(Detector):
    """A frames folder to a DensePose dump."""

    frames: Path
    out: Path

    def run(self) -> None:
        from densepose_prep.detect import densepose

        densepose(**vars(self))


@dataclass(frozen=True)
class Reformat:
    """A dump to a poses folder: one IUV image a frame, one person through the clip."""

    dump: Path
    frames: Path
    out: Path
    person: Literal["largest", "center"] | int = "largest"
    """who is followed; a number is the place by score, from 0, where first somebody is seen"""
    most_missing: float = 0.25
    """share of the frames that may lack the person and be filled"""
    smooth: bool = False
    """calm parts, U and V over neighbouring frames, without lag"""
    previews: Path | None = None
    """also write preview.mp4 and sheet.png into this folder"""

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
    preview: Path | None = None
    """also write a sheet to this .png: the poses before and after, the subject's in grey"""

    def run(self) -> None:
        from densepose_prep.retarget import retarget

        retarget(**vars(self))


@dataclass(frozen=True, kw_only=True)
class Repose(Detector):
    """The poses that a render's frames show: are they those asked for?"""

    frames: Path
    """the samples folder"""
    asked: Path
    """poses folder that was sampled: where the person is looked for among several"""
    out: Path

    def run(self) -> None:
        from densepose_prep.repose import repose

        repose(**vars(self))


@dataclass(frozen=True)
class ImportPoses:
    """Poses made elsewhere to a poses folder: frame_N_densepose.npy files, or a dump."""

    source: Path
    """a folder of frame_N_densepose.npy, or a dump of DensePose's apply_net.py"""
    out: Path
    frames: Path | None = None
    """frames folder that the poses are of; a dump needs it"""

    def run(self) -> None:
        from densepose_prep.convert import import_poses

        import_poses(**vars(self))


@dataclass(frozen=True)
class ExportPoses:
    """A poses folder or a dump to a folder of frame_N_densepose.npy."""

    source: Path
    out: Path
    frames: Path | None = None
    """frames folder that a dump is of; poses need none"""

    def run(self) -> None:
        from densepose_prep.convert import export_poses

        export_poses(**vars(self))


@dataclass(frozen=True, kw_only=True)
class TrainIuv(TrainingSettings):
    """Recipe: the small IUV network on a mannequin shard."""

    data: Path
    validation: Path
    out: Path

    def run(self) -> None:
        from densepose_prep.train_iuv import train_iuv

        train_iuv(self.data, self.validation, self.out, group(TrainingSettings, self))


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


@dataclass(frozen=True)
class Estimate:
    """Benchmark: the small network's IUV of arrays of frames; FOLDER/NAME.npy → FOLDER-NAME.npy."""

    weights: Path
    arrays: tuple[Path, ...]
    """.npy files of RGB uint8 (S, …, H, W, 3)"""
    out: Path
    workers: int | None = None
    """processes; all cores unless given"""

    def run(self) -> None:
        from densepose_prep.estimate import estimate

        estimate(**vars(self))


VERBS = {
    "densepose": Densepose,
    "reformat": Reformat,
    "retarget": Retarget,
    "repose": Repose,
    "import-poses": ImportPoses,
    "export-poses": ExportPoses,
    "train-iuv": TrainIuv,
    "evaluate-iuv": EvaluateIuv,
    "estimate": Estimate,
}

if __name__ == "__main__":
    sys.exit(main("python -m densepose_prep", VERBS))
