"""Motions: families of turns and arm gestures, as joint-angle curves that fit any subject.

A motion is a function of its family and seed alone; `skeleton.pose` puts it on a subject. All
angles are radians, one value a frame. Yaw 0 faces the camera, positive yaw turns the person to
their left (towards the image's right); it may run past a full turn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Curve = NDArray[np.float64]  # (T,)

CLIP_FRAMES = 48
DEGREE = np.pi / 180
ARM_STYLES = {"hang": 0.35, "swing": 0.25, "hip": 0.2, "front": 0.12, "lift": 0.08}


@dataclass(frozen=True)
class LegCurves:
    knee: Curve
    hip_flexion: float
    outward: float
    toe_out: float


@dataclass(frozen=True)
class ArmCurves:
    style: str
    abduction: Curve
    flexion: Curve
    elbow: Curve
    twist: Curve
    wrist_bend: Curve
    wrist_twist: Curve


@dataclass(frozen=True)
class Motion:
    """`legs` and `arms` have the keys "L" and "R", the person's own left and right."""

    family: str
    seed: int
    yaw: Curve
    weight_shift: Curve  # -1 on the right leg, 1 on the left
    roll: Curve
    lean: Curve
    twist: Curve
    breath: Curve
    neck_nod: Curve
    head_nod: Curve
    head_turn: Curve
    head_tilt: Curve
    legs: dict[str, LegCurves]
    arms: dict[str, ArmCurves]

    def __len__(self) -> int:
        return len(self.yaw)

    def turn_rate(self) -> Curve:
        """Yaw speed in radians a clip."""
        return np.gradient(self.yaw) * len(self)

    def cloth_lag(self) -> Curve:
        """Turn rate averaged over the last tenth of the clip: what hanging cloth still feels."""
        window = max(1, round(len(self) * 5 / CLIP_FRAMES))
        padded = np.pad(self.turn_rate(), (window - 1, 0), mode="edge")
        return np.convolve(padded, np.ones(window) / window, "valid")


def view(yaw: float) -> str:
    """'front' (within 45 degrees of the camera), 'back' (beyond 135) or 'side'."""
    away = abs((yaw + np.pi) % (2 * np.pi) - np.pi)
    if away < 45 * DEGREE:
        return "front"
    return "back" if away > 135 * DEGREE else "side"


def sample_motion(family: str, seed: int, frames: int = CLIP_FRAMES) -> Motion:
    """One motion; `frames` >= 2 only samples the same movement more or less densely."""
    rng = np.random.default_rng([seed, list(YAW_FAMILIES).index(family)])
    time = np.linspace(0, 1, frames)
    yaw = (YAW_FAMILIES[family](rng, time) + _wander(rng, time, 3, -5, 5)) * DEGREE
    weight = _wander(rng, time, 4, -1, 1)
    walking = np.clip(np.abs(np.gradient(yaw) * frames) / 4, 0, 1)
    stride = 2 * np.pi * (time * CLIP_FRAMES / rng.uniform(15, 20) + rng.random())
    return Motion(
        family=family,
        seed=seed,
        yaw=yaw,
        weight_shift=weight,
        roll=5.5 * DEGREE * weight,
        lean=_wander(rng, time, 3, -3, 4) * DEGREE,
        twist=_wander(rng, time, 3, -7, 7) * DEGREE,
        breath=0.01 * np.sin(2 * np.pi * (time * 2.2 + rng.random())),
        neck_nod=_wander(rng, time, 3, -5, 6) * DEGREE,
        head_nod=_wander(rng, time, 3, -6, 6) * DEGREE,
        head_turn=_wander(rng, time, 4, -22, 22) * DEGREE,
        head_tilt=_wander(rng, time, 3, -5, 5) * DEGREE,
        legs={
            "L": _leg(rng, 1, np.clip(-weight, 0, 1), walking * np.maximum(np.sin(stride), 0)),
            "R": _leg(rng, -1, np.clip(weight, 0, 1), walking * np.maximum(-np.sin(stride), 0)),
        },
        arms={
            "L": _arm(rng, time, -walking * np.sin(stride)),
            "R": _arm(rng, time, walking * np.sin(stride)),
        },
    )


def _wander(rng: Generator, time: Curve, pieces: int, low: float, high: float) -> Curve:
    """A smooth curve through pieces + 1 random keys in low..high."""
    keys = rng.uniform(low, high, pieces + 1)
    x = np.minimum(time * pieces, pieces - 1e-6)
    left = x.astype(int)
    u = x - left
    return keys[left] + (keys[left + 1] - keys[left]) * u * u * (3 - 2 * u)


def _ease(time: Curve, start: float, end: float) -> Curve:
    """0 before start, 1 after end, with zero speed and acceleration at both."""
    u = np.clip((time - start) / (end - start), 0, 1)
    return u * u * u * (u * (6 * u - 15) + 10)


def _yaw_sway(rng: Generator, time: Curve) -> Curve:
    return _wander(rng, time, int(rng.integers(2, 4)), -28, 28)


def _yaw_side(rng: Generator, time: Curve) -> Curve:
    """Turns to one side, then through the front to the other."""
    direction, first, second = rng.choice([-1, 1]), rng.uniform(45, 85), rng.uniform(20, 75)
    return direction * (first * _ease(time, 0.05, 0.4) - (first + second) * _ease(time, 0.5, 0.95))


def _yaw_back(rng: Generator, time: Curve) -> Curve:
    """Turns to the back and returns the same way."""
    direction, angle = rng.choice([-1, 1]), rng.uniform(130, 190)
    return direction * angle * (_ease(time, 0.05, 0.45) - _ease(time, 0.55, 0.97))


def _yaw_spin(rng: Generator, time: Curve) -> Curve:
    return rng.choice([-1, 1]) * 360 * _ease(time, 0.05, 0.95)


def _yaw_showcase(rng: Generator, time: Curve) -> Curve:
    """As in fashion videos: sways to the front, holds the side, shows the back, comes home."""
    direction = rng.choice([-1, 1])
    comes_full_circle = rng.random() < 0.5
    start = rng.uniform(0.22, 0.28)
    side = rng.uniform(80, 95)
    sway = _wander(rng, time, 5, -20, 20) * (1 - _ease(time, start - 0.06, start + 0.06))
    to_side = side * _ease(time, start, start + 0.12)
    to_back = (180 - side) * _ease(time, start + 0.21, start + 0.33)
    home = (180 if comes_full_circle else -180) * _ease(time, start + 0.45, start + 0.72)
    return sway + direction * (to_side + to_back + home)


YAW_FAMILIES: dict[str, Callable[[Generator, Curve], Curve]] = {
    "sway": _yaw_sway,
    "side": _yaw_side,
    "back": _yaw_back,
    "spin": _yaw_spin,
    "showcase": _yaw_showcase,
}


def _leg(rng: Generator, outward: int, relaxed: Curve, step: Curve) -> LegCurves:
    return LegCurves(
        knee=(3 + 20 * relaxed + 38 * step) * DEGREE,
        hip_flexion=rng.uniform(-2, 3) * DEGREE,
        outward=outward * rng.uniform(-4, 2) * DEGREE,
        toe_out=outward * rng.uniform(0, 8) * DEGREE,
    )


def _arm(rng: Generator, time: Curve, swing: Curve) -> ArmCurves:
    style = str(rng.choice(list(ARM_STYLES), p=list(ARM_STYLES.values())))
    abduction = _wander(rng, time, 3, 12, 19)
    flexion = _wander(rng, time, 3, -10, 2)
    elbow = _wander(rng, time, 3, 0, 14)
    twist = _wander(rng, time, 3, -14, 2)
    raised = _gesture(rng, time)
    if style == "swing":
        flexion = flexion + 12 * swing + _wander(rng, time, 4, -8, 6)
        elbow = elbow + 6 * np.abs(swing)
    elif style == "hip":
        abduction = abduction + 30 * raised
        flexion = flexion - 16 * raised
        elbow = elbow + (74 - elbow) * raised
        twist = twist + (68 - twist) * raised
    elif style == "front":
        abduction = abduction + 4 * raised
        flexion = flexion + 16 * raised
        elbow = elbow + 62 * raised
        twist = twist + 38 * raised
    elif style == "lift":
        abduction = abduction + 38 * raised
        flexion = flexion + 25 * raised
        elbow = elbow + 112 * raised
        twist = twist - 38 * raised
    return ArmCurves(
        style=style,
        abduction=abduction * DEGREE,
        flexion=flexion * DEGREE,
        elbow=elbow * DEGREE,
        twist=twist * DEGREE,
        wrist_bend=_wander(rng, time, 3, -8, 12) * DEGREE,
        wrist_twist=_wander(rng, time, 2, -10, 10) * DEGREE,
    )


def _gesture(rng: Generator, time: Curve) -> Curve:
    """How far the arm is in its style's pose: held throughout, reached or left during the clip."""
    start, end = np.sort(rng.uniform(0, 1, 2)) + [0.0, 0.25]
    raised = _ease(time, start, end) if rng.random() < 0.6 else np.ones_like(time)
    return 1 - raised if rng.random() < 0.3 else raised
