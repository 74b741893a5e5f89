"""Surface colour of a dressed subject at visible points: skin, face, hair, cloth and shoes.

Colours are display RGB in 0..1. Points are canonical, in metres, so paint sticks to the body.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mannequin.body import BODY, HAIR, SKIRT, TIGHTS
from mannequin.landmarks import landmarks
from mannequin.tailoring import Dressed, Haircut
from mannequin.wardrobe import Colour, Outfit

SKIN_TONES = np.array(
    [
        [0.98, 0.85, 0.76],
        [0.95, 0.78, 0.67],
        [0.88, 0.68, 0.54],
        [0.76, 0.56, 0.42],
        [0.6, 0.42, 0.3],
        [0.43, 0.29, 0.21],
        [0.31, 0.21, 0.16],
    ]
)
HAIR_COLOURS = np.array(
    [
        [0.07, 0.05, 0.05],
        [0.16, 0.1, 0.07],
        [0.3, 0.18, 0.1],
        [0.5, 0.33, 0.18],
        [0.75, 0.58, 0.33],
        [0.45, 0.2, 0.1],
        [0.5, 0.5, 0.5],
    ]
)
HAIR_ODDS = [0.27, 0.2, 0.18, 0.13, 0.12, 0.07, 0.03]
IRIS_COLOURS = np.array([[0.15, 0.08, 0.05], [0.2, 0.35, 0.5], [0.2, 0.3, 0.15]])
SLEEVES_FROM = 0.3  # |x| in m beyond which canonical cloth is a sleeve, not a hip
EYE_WHITE = np.array([0.93, 0.92, 0.9])


@dataclass(frozen=True)
class Complexion:
    skin: Colour
    hair: Colour
    lips: Colour
    iris: Colour


def sample_complexion(rng: Generator, feminine: bool) -> Complexion:
    skin = np.minimum(rng.choice(SKIN_TONES) * rng.uniform(0.93, 1.03, 3), 1)
    return Complexion(
        skin=skin,
        hair=rng.choice(HAIR_COLOURS, p=HAIR_ODDS) * rng.uniform(0.85, 1.15),
        lips=skin * ([0.82, 0.5, 0.52] if feminine else [0.85, 0.68, 0.66]),
        iris=rng.choice(IRIS_COLOURS),
    )


def paint(
    points: NDArray[np.float64],
    layer: NDArray[np.int64],
    lips: NDArray[np.float64],
    eyes: NDArray[np.float64],
    complexion: Complexion,
    haircut: Haircut,
    outfit: Outfit,
    dressed: Dressed,
) -> NDArray[np.float64]:
    """RGB (N, 3) at canonical points (N, 3) of a mesh layer (N,); lips and eyes (N,) are 0..1."""
    colours = np.empty((len(points), 3))
    chosen = layer == BODY
    colours[chosen] = _skin(points[chosen], lips[chosen], eyes[chosen], complexion, haircut)
    chosen = layer == TIGHTS
    colours[chosen] = _clothes(points[chosen], outfit, dressed)
    chosen = layer == SKIRT
    colours[chosen] = outfit.bottom.colours(points[chosen])
    chosen = layer == HAIR
    strands = np.sin(points[chosen, :1] * 260 + 4 * np.sin(points[chosen, 2:] * 30))
    colours[chosen] = complexion.hair * (1 + 0.18 * strands)
    return colours


def _clothes(points: NDArray, outfit: Outfit, dressed: Dressed) -> NDArray:
    colours = outfit.top.colours(points)
    lower = (points[:, 2] <= dressed.seam) & (np.abs(points[:, 0]) < SLEEVES_FROM)
    colours[lower] = outfit.bottom.colours(points[lower])
    colours[points[:, 2] < dressed.shoe_top] = outfit.shoe_colour
    return colours


def _skin(
    points: NDArray, lips: NDArray, eyes: NDArray, complexion: Complexion, haircut: Haircut
) -> NDArray:
    marks = landmarks()
    colours = np.tile(complexion.skin, (len(points), 1))
    face = np.flatnonzero(points[:, 2] > marks.head - 0.05)
    across = np.abs(points[face, 0])
    forward = marks.head_y - points[face, 1]
    height = points[face, 2] - marks.head
    if haircut.style != "none":
        crown = marks.crown - marks.head
        hairline = 0.045 + 0.05 * (height / crown - 0.9)
        scalp = ((forward < hairline) & (height > 0.02)) | (height > 0.83 * crown)
        ear = (across > 0.062) & (np.abs(forward) < 0.03) & (height < 0.1)
        colours[face[scalp & ~ear & (across < 0.2)]] = complexion.hair
    brow = (forward > 0.06) & (np.abs(height - 0.118) < 0.0045) & (np.abs(across - 0.032) < 0.017)
    colours[face[brow]] = complexion.hair * 0.8
    colours += (complexion.lips - colours) * lips[:, None]
    eye = np.flatnonzero(eyes > 0.5)
    from_pupil = np.hypot(np.abs(points[eye, 0]) - marks.eye_x, points[eye, 2] - marks.eye_z)
    colours[eye] = np.where(from_pupil[:, None] < 0.0075, complexion.iris, EYE_WHITE)
    return colours
