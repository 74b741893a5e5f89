"""A subject: an adult, clothed person with a background, light and camera, drawn from a seed."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mannequin.body import Phenotype, load_body
from mannequin.paint import Complexion, sample_complexion
from mannequin.tailoring import Dressed, Haircut, dress
from mannequin.wardrobe import Outfit, pick, sample_cloth_colour, sample_outfit

FEMININE_HAIR = {"long": 0.35, "mid": 0.25, "bob": 0.25, "short": 0.15}
MASCULINE_HAIR = {"short": 0.93, "none": 0.07}


@dataclass(frozen=True)
class Scene:
    background: NDArray[np.float64]  # (3,) RGB 0..1
    background_slope: float  # relative brightening from top to bottom
    light: NDArray[np.float64]  # (3,) unit, towards the light
    ambient: float  # share of light from everywhere
    zoom: float  # body height as a share of the frame's height
    offset_x: float  # m, of the person to the image's right


@dataclass(frozen=True)
class Subject:
    seed: int
    joints: NDArray[np.float64]  # (J, 3) rest, m
    dressed: Dressed
    outfit: Outfit
    haircut: Haircut
    complexion: Complexion
    scene: Scene


def sample_subject(seed: int) -> Subject:
    shape_rng, look_rng, outfit_rng, scene_rng = (
        np.random.default_rng([seed, stream]) for stream in range(4)
    )
    body = load_body()
    feminine = bool(shape_rng.random() < 0.75)
    vertices, joints = body.shaped(_sample_phenotype(shape_rng, feminine))
    haircut = Haircut(
        style=pick(look_rng, FEMININE_HAIR if feminine else MASCULINE_HAIR),
        face_top=look_rng.uniform(0.125, 0.145),
        face_half_width=look_rng.uniform(0.062, 0.075),
    )
    complexion = sample_complexion(look_rng, feminine)
    outfit = sample_outfit(outfit_rng, feminine)
    return Subject(
        seed=seed,
        joints=joints,
        dressed=dress(body, outfit, haircut, vertices, joints),
        outfit=outfit,
        haircut=haircut,
        complexion=complexion,
        scene=_sample_scene(scene_rng),
    )


def _sample_phenotype(rng: Generator, feminine: bool) -> Phenotype:
    return Phenotype(
        femininity=rng.uniform(0.82, 1) if feminine else rng.uniform(0, 0.15),
        age=rng.uniform(0.68, 0.8),
        muscle=rng.uniform(0.35, 0.65),
        weight=rng.uniform(0.28, 0.6),
        height=rng.uniform(0.4, 0.75),
        proportions=rng.uniform(0.55, 1),
    )


def _sample_scene(rng: Generator) -> Scene:
    if rng.random() < 0.75:
        tint = np.array([1, rng.uniform(0.97, 1.01), rng.uniform(0.95, 1.03)])
        background = rng.uniform(0.78, 0.99) * tint
    else:
        background = 0.4 + 0.5 * sample_cloth_colour(rng)
    light = np.array([rng.uniform(-0.6, 0.6), -1, rng.uniform(0.2, 0.9)])
    return Scene(
        background=background,
        background_slope=rng.uniform(-0.12, 0.05),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.45, 0.62),
        zoom=rng.uniform(0.82, 0.9),
        offset_x=rng.uniform(-0.03, 0.03),
    )
