"""A tiny base, a subject and poses of somebody else: what tests of the model's programs share."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.frames import FramesInfo, write_frames
from common.poses import PosesInfo, write_poses
from common.program import main
from dreampose_core.__main__ import VERBS
from mannequin.motion import sample_motion
from mannequin.render import render_clip
from mannequin.subject import sample_subject

TINY = Path(__file__).parents[1] / "presets/architectures/tiny.json"
SAMPLED = ("--steps", 2, "--s1", 2, "--s2", 3)


def run(*arguments: object) -> int:
    return main("dreampose_core", VERBS, [str(argument) for argument in arguments])


def write_clip(folder: Path, rgb: np.ndarray, iuv: np.ndarray, **info: object) -> None:
    """A subject's frames folder and poses folder."""
    write_frames(folder / "frames", rgb, FramesInfo("25"))
    write_poses(folder / "poses", iuv, replace(PosesInfo("mannequin", "mini", fps="25"), **info))


@dataclass(frozen=True)
class World:
    """A tiny base, a subject of three frames, and poses of another person to show it in."""

    root: Path

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def given(self) -> tuple[object, ...]:
        """The arguments of a finetuning."""
        subject = self.root / "subject"
        return "--base", self.base, "--frames", subject / "frames", "--poses", subject / "poses"

    def sample(self, out: Path, *more: object, verb: str = "sample", **other: Path) -> int:
        """Sample with some folders replaced by others; or sweep."""
        subject = self.root / "subject"
        folders = {
            "base": self.base,
            "frames": subject / "frames",
            "subject-poses": subject / "poses",
            "poses": self.root / "driving/poses",
        }
        folders |= {name.replace("_", "-"): path for name, path in other.items()}
        named = [part for name, path in folders.items() for part in (f"--{name}", path)]
        batch = ("--batch-size", 2) if verb == "sample" else ()
        return run(verb, "--out", out, *named, *SAMPLED, *batch, *more)


def make_world(root: Path) -> World:
    """The folders of a world, made by the programs."""
    for name, subject, count in (("subject", 200_000, 3), ("driving", 200_001, 5)):
        motion = sample_motion("showcase", subject, 24)
        clip = render_clip(
            sample_subject(subject),
            motion,
            height=80,
            width=64,
            frame_indices=range(0, 4 * count, 4),
        )
        write_clip(root / name, *clip)
    assert run("base", "--source", TINY, "--out", root / "base", "--seed", 3) == 0
    return World(root)
