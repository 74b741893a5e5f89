"""What a subject wears: cloth colours, fabrics with printed patterns, outfits and their cut.

Colours are display RGB in 0..1. Patterns live in canonical space (metres), so they
stick to the body as it moves.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Colour = NDArray[np.float64]  # (3,) RGB 0..1

PATTERNS = {
    "plain": 0.42,
    "hstripe": 0.1,
    "vstripe": 0.08,
    "check": 0.08,
    "dots": 0.1,
    "blob": 0.14,
    "fade": 0.08,
}
FEMININE_OUTFITS = {
    "dress": 0.48,
    "skirt": 0.2,
    "trousers": 0.24,
    "shorts": 0.03,
    "jumpsuit": 0.05,
}
MASCULINE_OUTFITS = {"trousers": 0.8, "shorts": 0.16, "jumpsuit": 0.04}


def pick(rng: Generator, odds: dict[str, float]) -> str:
    return str(rng.choice(list(odds), p=list(odds.values())))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)


def sample_cloth_colour(rng: Generator) -> Colour:
    kind = rng.random()
    if kind < 0.18:
        dark = rng.uniform(0.04, 0.2)
        return np.array([dark, dark, dark * rng.uniform(1, 1.25)])
    if kind < 0.33:
        return rng.uniform(0.75, 0.97) * np.array([1, rng.uniform(0.95, 1), rng.uniform(0.88, 1)])
    if kind < 0.45:
        return hsv(rng.uniform(0.55, 0.64), rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.6))
    if kind < 0.57:
        return hsv(rng.uniform(0.05, 0.12), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.85))
    return hsv(rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.3, 0.95))


@dataclass(frozen=True)
class Fabric:
    pattern: str  # a key of PATTERNS
    base: Colour
    accent: Colour
    frequency: float  # repeats a metre
    duty: float  # accent share of a stripe
    waves: NDArray[np.float64]  # (5, 3) rad/m, of the blobs
    phases: NDArray[np.float64]  # (5,)
    threshold: float  # of the blobs
    fade_height: float  # m

    def colours(self, canonical: NDArray[np.float64]) -> NDArray[np.float64]:
        """RGB (N, 3) at canonical points (N, 3)."""
        return self.base + (self.accent - self.base) * self._accent_share(canonical)[:, None]

    def _accent_share(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, z = points[:, 0] * self.frequency, points[:, 2] * self.frequency
        if self.pattern == "plain":
            return np.zeros(len(points))
        if self.pattern == "hstripe":
            return (z % 1 < self.duty) * 1.0
        if self.pattern == "vstripe":
            return (x % 1 < self.duty) * 1.0
        if self.pattern == "check":
            return 0.5 * (x % 1 < self.duty) + 0.5 * (z % 1 < self.duty)
        if self.pattern == "dots":
            x, z = 0.7 * x, 0.7 * z
            shifted = x + 0.5 * (np.floor(z) % 2)
            return ((shifted % 1 - 0.5) ** 2 + (z % 1 - 0.5) ** 2 < 0.09) * 1.0
        if self.pattern == "blob":
            height = np.cos(points @ self.waves.T + self.phases).sum(1) / 1.6
            return 1 / (1 + np.exp(-6 * (height - self.threshold)))
        return 1 / (1 + np.exp(-7 * (points[:, 2] - self.fade_height)))


def sample_fabric(rng: Generator) -> Fabric:
    base, accent = sample_cloth_colour(rng), sample_cloth_colour(rng)
    if np.abs(base - accent).sum() < 0.5:
        accent = 1 - base
    return Fabric(
        pattern=pick(rng, PATTERNS),
        base=base,
        accent=accent,
        frequency=rng.uniform(10, 32),
        duty=rng.uniform(0.25, 0.6),
        waves=rng.normal(size=(5, 3)) * rng.uniform(14, 40),
        phases=rng.uniform(0, 7, 5),
        threshold=rng.uniform(-0.1, 0.6),
        fade_height=rng.uniform(-0.2, 0.3),
    )


@dataclass(frozen=True)
class Outfit:
    """The cut; lengths in canonical metres unless said otherwise."""

    kind: str  # a key of FEMININE_OUTFITS
    top: Fabric
    bottom: Fabric
    shoe_colour: Colour
    barefoot: bool
    shoe_rise: float  # shoe top above the ankle joint
    sleeve_end: float  # 0 shoulder, 1 elbow, 2 wrist
    sleeve_flare: float  # added radius at the wrist, as a share
    neckline_depth: float
    neckline_slope: float
    cropped: bool
    tucked: bool
    leg_end: float  # trousers: above the ankle; shorts: above the middle of the thigh
    leg_flare: float  # added radius at the ankle, as a share
    thickness: float
    smoothing: int  # Laplacian steps
    fold_depth: float
    fold_waves: NDArray[np.float64]  # (3, 3) rad/m
    fold_phases: NDArray[np.float64]  # (3,)
    skirt_length: float  # share of waist to ankle
    skirt_flare: float  # added radius at the ankle, as a share
    pleats: int
    pleat_depth: float
    pleat_phase: float

    @property
    def has_skirt(self) -> bool:
        return self.kind in ("dress", "skirt")


def sample_outfit(rng: Generator, feminine: bool) -> Outfit:
    kind = pick(rng, FEMININE_OUTFITS if feminine else MASCULINE_OUTFITS)
    top, bottom = sample_fabric(rng), sample_fabric(rng)
    if kind in ("dress", "jumpsuit"):
        bottom = top
    elif kind == "trousers" and rng.random() < 0.7:
        bottom = replace(bottom, pattern="plain")
    skirt_flare = rng.choice([0, 0.5, 1.1, 1.8], p=[0.25, 0.3, 0.3, 0.15])
    return Outfit(
        kind=kind,
        top=top,
        bottom=bottom,
        shoe_colour=sample_cloth_colour(rng),
        barefoot=bool(rng.random() < 0.06),
        shoe_rise=rng.choice([-0.035, -0.02, 0.06]),
        sleeve_end=rng.choice([0.02, 0.45, 0.95, 1.5, 1.97], p=[0.25, 0.22, 0.1, 0.13, 0.3]),
        sleeve_flare=rng.choice([0, 0.25, 0.6], p=[0.6, 0.25, 0.15]),
        neckline_depth=rng.choice([0, 0.05, 0.1] if feminine else [0, 0.02]),
        neckline_slope=rng.choice([0.5, 0.9]) if feminine else 0.5,
        cropped=bool(feminine and kind in ("skirt", "trousers") and rng.random() < 0.15),
        tucked=bool(rng.random() < 0.5),
        leg_end=_leg_end(rng, kind),
        leg_flare=rng.choice([0, 0.15, 0.45, 0.9], p=[0.3, 0.35, 0.2, 0.15]),
        thickness=rng.uniform(0.007, 0.015),
        smoothing=int(rng.integers(3, 9)),
        fold_depth=rng.uniform(0, 0.003),
        fold_waves=rng.normal(size=(3, 3)) * 22,
        fold_phases=rng.uniform(0, 7, 3),
        skirt_length=rng.choice([0.3, 0.5, 0.72, 0.97], p=[0.2, 0.35, 0.25, 0.2])
        * rng.uniform(0.93, 1.05),
        skirt_flare=skirt_flare,
        pleats=int(rng.integers(7, 15)),
        pleat_depth=rng.uniform(0, 0.1) if skirt_flare > 0.2 else 0.0,
        pleat_phase=rng.uniform(0, 6),
    )


def _leg_end(rng: Generator, kind: str) -> float:
    if kind == "shorts":
        return rng.uniform(-0.06, 0.08)
    return 0.03 if kind == "jumpsuit" else rng.choice([0.02, 0.02, 0.12])
