"""Command line of the mannequin: `python -m mannequin clip | dataset | sheet`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import InputError
from common.program import main

Family = Literal["sway", "side", "back", "spin", "showcase"]


@dataclass
class Clip:
    """Render one subject in one motion: a frames folder and its exact poses folder."""

    out_frames: Path
    """Frames folder to write."""
    out_poses: Path
    """Poses folder to write."""
    subject: int = 200_000
    """Subject seed (test subjects: 200000 to 200063)."""
    motion: int = 300_000
    """Motion seed (test motions: 300000 to 300063)."""
    family: Family = "showcase"
    """Kind of movement; showcase never appears in training."""
    height: int = 160
    """Pixels."""
    width: int = 128
    """Pixels."""
    frames: int = 48
    """How many frames the whole movement takes."""
    fps: str = "12"
    """Frames a second, a fraction such as 30000/1001."""

    def run(self) -> None:
        from common.files import publish
        from common.frames import FramesInfo, write_frames
        from common.poses import PosesInfo, write_poses
        from mannequin.charts import CHART_NAME
        from mannequin.motion import sample_motion
        from mannequin.render import render_clip
        from mannequin.subject import sample_subject

        if self.frames < 2:
            raise InputError("a movement of fewer than two frames", "give --frames 2 or more")
        rgb, iuv = render_clip(
            sample_subject(self.subject),
            sample_motion(self.family, self.motion, self.frames),
            height=self.height,
            width=self.width,
        )
        with publish(self.out_frames) as frames, publish(self.out_poses) as poses:
            write_frames(frames, rgb, FramesInfo(fps=self.fps))
            write_poses(poses, iuv, PosesInfo(chart=CHART_NAME, backend="mannequin", fps=self.fps))


@dataclass
class Dataset:
    """Render many subjects into one folder of arrays, on all cores; goes on where it stopped."""

    out: Path
    """Folder to write."""
    subjects: int
    """How many subjects."""
    first: int = 0
    """Seed of the first subject; all must be of one split."""
    clips_per_subject: int = 2
    """Motions each subject is seen in, drawn for each."""
    motions: tuple[int, ...] = ()
    """Motion seeds that every subject is seen in instead."""
    frames_per_clip: int = 8
    """Frames kept of each motion, evenly spaced."""
    height: int = 160
    """Pixels."""
    width: int = 128
    """Pixels."""
    seed: int = 0
    """Chooses the motions."""
    workers: int | None = None
    """Processes; all cores unless given."""

    def run(self) -> None:
        from mannequin.dataset import plan_dataset, render_dataset

        plan = plan_dataset(
            range(self.first, self.first + self.subjects),
            clips_per_subject=self.clips_per_subject,
            frames_per_clip=self.frames_per_clip,
            motions=self.motions,
            height=self.height,
            width=self.width,
            seed=self.seed,
        )
        render_dataset(self.out, plan, self.workers)


@dataclass
class Sheet:
    """A picture to look at: frames over coloured IUV, one pair of rows a subject."""

    out: Path
    """PNG to write."""
    subjects: tuple[int, ...] = (200_000, 200_001, 200_002, 200_003)
    """Subject seeds."""
    motion: int = 300_000
    """Motion seed of the first subject; the others count on."""
    family: Family = "showcase"
    """Kind of movement."""
    columns: int = 8
    """Frames of each subject."""
    height: int = 160
    """Pixels of a frame."""
    width: int = 128
    """Pixels of a frame."""

    def run(self) -> None:
        from common.files import publish
        from common.images import write_png
        from mannequin.sheet import contact_sheet

        clips = [(seed, self.motion + n, self.family) for n, seed in enumerate(self.subjects)]
        image = contact_sheet(clips, self.columns, self.height, self.width)
        with publish(self.out) as partial:
            write_png(partial, image)


VERBS = {"clip": Clip, "dataset": Dataset, "sheet": Sheet}

if __name__ == "__main__":
    sys.exit(main("python -m mannequin", VERBS))
