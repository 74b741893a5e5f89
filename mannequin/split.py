"""THE split: which subject seeds, motion seeds and motion families are for what.

Test and benchmark subjects, their motion seeds and the `showcase` family never appear in training.
Recipes are tuned on validation subjects; the benchmark's, and any other seed of its range, are
only ever scored.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from mannequin.motion import Motion, sample_motion
from mannequin.subject import Subject, sample_subject


@dataclass(frozen=True)
class Split:
    name: str
    subjects: range
    motions: range
    families: tuple[str, ...]


TRAINING_FAMILIES = ("sway", "side", "back", "spin")
HELD_OUT_FAMILY = "showcase"

TRAINING = Split("training", range(100_000), range(200_000), TRAINING_FAMILIES)
VALIDATION = Split(
    "validation", range(100_000, 100_064), range(200_000, 200_064), TRAINING_FAMILIES
)
TEST = Split("test", range(200_000, 200_064), range(300_000, 300_064), (HELD_OUT_FAMILY,))
BENCHMARK = Split("benchmark", range(300_000, 400_000), range(400_000, 500_000), (HELD_OUT_FAMILY,))
FROZEN = (TRAINING, VALIDATION, TEST)
SPLITS = (*FROZEN, BENCHMARK)

HASHED_SAMPLES = 3  # test subjects and motions whose generated numbers enter the hash
HASHED_VERTEX_STEP = 29


def split_of(subjects: Iterable[int]) -> Split:
    """The one split all these subject seeds belong to."""
    seeds = list(subjects)
    for split in SPLITS:
        if seeds and all(seed in split.subjects for seed in seeds):
            return split
    raise InputError(
        "the subject seeds are none, outside every split, or of several",
        "; ".join(f"{s.name}: {s.subjects.start} to {s.subjects.stop - 1}" for s in SPLITS),
    )


def split_hash() -> str:
    """SHA-256 of the frozen splits' definition and of what the generator makes of some test seeds.

    It changes when the split does and when bodies, clothes, colours or motions change silently.
    """
    digest = hashlib.sha256()
    definition = [
        [s.name, s.subjects.start, s.subjects.stop, s.motions.start, s.motions.stop, *s.families]
        for s in FROZEN
    ]
    digest.update(json.dumps(definition).encode())
    for seed in TEST.subjects[:HASHED_SAMPLES]:
        _update(digest, _subject_numbers(sample_subject(seed)))
    for seed in TEST.motions[:HASHED_SAMPLES]:
        for family in (*TRAINING_FAMILIES, HELD_OUT_FAMILY):
            _update(digest, _motion_numbers(sample_motion(family, seed)))
    return digest.hexdigest()


def _update(digest, numbers: Iterable[NDArray]) -> None:
    flat = np.concatenate([np.ravel(array) for array in numbers])
    digest.update(np.round(flat * 1e4).astype("<i8").tobytes())


def _subject_numbers(subject: Subject) -> list[NDArray]:
    dressed, complexion, scene = subject.dressed, subject.complexion, subject.scene
    probe = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    return [
        dressed.vertices[::HASHED_VERTEX_STEP],
        dressed.cover[::HASHED_VERTEX_STEP],
        subject.joints,
        complexion.skin,
        complexion.hair,
        complexion.lips,
        complexion.iris,
        subject.outfit.top.colours(probe),
        subject.outfit.bottom.colours(probe),
        subject.outfit.shoe_colour,
        scene.background,
        scene.light,
        np.array([scene.background_slope, scene.ambient, scene.zoom, scene.offset_x]),
    ]


def _motion_numbers(motion: Motion) -> list[NDArray]:
    curves = [motion.yaw, motion.cloth_lag(), motion.weight_shift, motion.lean, motion.twist]
    curves += [motion.head_turn, motion.head_nod, motion.head_tilt, motion.neck_nod]
    for side in ("L", "R"):
        leg, arm = motion.legs[side], motion.arms[side]
        curves += [leg.knee, np.array([leg.hip_flexion, leg.outward, leg.toe_out])]
        curves += [arm.abduction, arm.flexion, arm.elbow, arm.twist]
        curves += [arm.wrist_bend, arm.wrist_twist]
    return curves
