"""Fits an outfit and a haircut to a shaped body: moved rest vertices and cover per vertex.

Cover is a signed distance-like value in metres, one channel a garment: a layer is seen where any
channel of its interpolated cover is not negative, so the zero line is a hem. The bare body is
hidden a little inside every garment, so that limbs never poke through cloth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mannequin.body import BODY, HAIR, SKIRT, TIGHTS, Body
from mannequin.landmarks import SIDES, Landmarks, landmarks
from mannequin.raster import vertex_normals
from mannequin.wardrobe import Outfit

OVERLAP = 0.05  # m of body kept drawn inside a hem
NOWHERE = -1.0

# hairstyle -> lower end of the hair layer, metres above the head joint; others are painted
HAIR_ENDS = {"long": -0.32, "mid": -0.18, "bob": -0.06}


@dataclass(frozen=True)
class Haircut:
    style: str  # a key of HAIR_ENDS, "short" (painted on the scalp) or "none"
    face_top: float  # of the face's opening, metres above the head joint
    face_half_width: float


@dataclass(frozen=True)
class Dressed:
    vertices: NDArray[np.float64]  # (V, 3) rest, m
    cover: NDArray[np.float64]  # (V, 3): top or other layer, trousers, shoes
    skirt_drop: NDArray[np.float64]  # (V,) 0 at the waist .. 1 at the ankle; 0 off the skirt
    seam: float  # canonical z where the top's fabric ends and the bottom's begins
    shoe_top: float  # canonical z


def dress(
    body: Body, outfit: Outfit, haircut: Haircut, vertices: NDArray, joints: NDArray
) -> Dressed:
    """vertices (V, 3) and joints (J, 3) are a body's rest shape in metres."""
    marks = landmarks()
    normals = np.empty_like(vertices)
    vertex_normals(vertices, body.faces, normals)
    z = body.canonical[:, 2]
    top_hem = _top_hem(outfit, marks)
    shoe_top = -9.0 if outfit.barefoot else marks.ankle + outfit.shoe_rise
    top, trousers = _tights_cover(outfit, marks, body, top_hem)
    shoes = np.where(marks.is_arm, NOWHERE, shoe_top - z)
    skirt = np.full(len(z), NOWHERE)
    if outfit.has_skirt:
        bottom = marks.waist - (marks.waist - marks.ankle) * outfit.skirt_length
        skirt = np.where(marks.is_arm, NOWHERE, np.minimum(z - bottom, marks.waist - 0.01 - z))

    cover = np.full((len(z), 3), NOWHERE)
    layer = body.vertex_layer
    bare = OVERLAP - np.max([top, trousers, shoes, skirt], 0)
    cover[layer == BODY, 0] = bare[layer == BODY]
    cover[layer == TIGHTS] = np.column_stack([top, trousers, shoes])[layer == TIGHTS]
    cover[layer == SKIRT, 0] = skirt[layer == SKIRT]
    cover[layer == HAIR, 0] = _hair_cover(haircut, marks, body.canonical[layer == HAIR])

    moved = vertices.copy()
    _shape_tights(moved, normals, body, outfit, marks, joints)
    skirt_drop = np.zeros(len(z))
    if outfit.has_skirt:
        drop = np.clip((marks.waist - 0.05 - z) / (marks.waist - marks.ankle), 0, 1)
        skirt_drop[layer == SKIRT] = drop[layer == SKIRT]
        _shape_skirt(moved, normals, body, outfit, marks, joints)
    return Dressed(moved, cover, skirt_drop, -np.inf if outfit.has_skirt else top_hem, shoe_top)


def _top_hem(outfit: Outfit, marks: Landmarks) -> float:
    hem = {
        "dress": marks.hip - 0.02,
        "jumpsuit": -np.inf,
        "skirt": marks.waist - 0.02,
        "trousers": marks.hip + (0.08 if outfit.tucked else -0.06),
        "shorts": marks.hip - 0.05,
    }[outfit.kind]
    return hem + 0.14 * outfit.cropped


def _tights_cover(
    outfit: Outfit, marks: Landmarks, body: Body, top_hem: float
) -> tuple[NDArray, NDArray]:
    """Of the top (V,) and the trousers (V,)."""
    x, y, z = body.canonical.T
    sleeve = 0.3 * (outfit.sleeve_end - marks.arm_position)
    v_neck = np.abs(x) * outfit.neckline_slope + marks.neck - 0.03 - outfit.neckline_depth - z
    collar = marks.neck + 0.01 - z
    backness = np.clip((y + 0.02) / 0.06, 0, 1)
    top = np.min([sleeve, collar, v_neck + (collar - v_neck) * backness], 0)
    leg_end = outfit.leg_end + (
        (marks.hip + marks.knee) / 2 if outfit.kind == "shorts" else marks.ankle
    )
    if outfit.kind == "jumpsuit":
        whole = np.where(marks.is_arm, top, np.minimum(top, z - leg_end))
        return whole, np.full(len(z), NOWHERE)
    top = np.where(marks.is_arm, top, np.minimum(top, z - top_hem))
    if outfit.has_skirt:
        return top, np.full(len(z), NOWHERE)
    trousers = np.minimum(z - leg_end, marks.waist + 0.03 - z)
    return top, np.where(marks.is_arm, NOWHERE, trousers)


def _hair_cover(haircut: Haircut, marks: Landmarks, canonical: NDArray) -> NDArray:
    if haircut.style not in HAIR_ENDS:
        return np.full(len(canonical), NOWHERE)
    x, y, z = canonical.T
    z = z - marks.head
    side = haircut.face_half_width + 0.02 * z - np.abs(x)
    opening = np.minimum(np.minimum(haircut.face_top - z, side), marks.head_y - y)
    return np.minimum(z - HAIR_ENDS[haircut.style], -opening)


def _shape_tights(
    vertices: NDArray,
    normals: NDArray,
    body: Body,
    outfit: Outfit,
    marks: Landmarks,
    joints: NDArray,
) -> None:
    tights = body.vertex_layer == TIGHTS
    smooth = vertices[tights]
    for _ in range(outfit.smoothing):
        smooth = body.tights_smoother @ smooth
    canonical = body.canonical[tights]
    folds = np.sin(canonical @ outfit.fold_waves.T + outfit.fold_phases).sum(1)
    folds *= outfit.fold_depth * (canonical[:, 2] > marks.ankle)
    vertices[tights] = smooth + normals[tights] * (outfit.thickness + folds)[:, None]
    drop = np.clip((marks.hip - body.canonical[:, 2]) / (marks.hip - marks.ankle), 0, 1)
    reach = np.clip(marks.arm_position / 2, 0, 1)
    has_legs = outfit.kind in ("trousers", "shorts", "jumpsuit")
    leg_flare = outfit.leg_flare if has_legs else 0.0
    widening = {
        ("thigh", "shin"): 1 + leg_flare * drop,
        ("shin", "foot"): 1 + leg_flare * drop,
        ("uarm", "larm"): 1 + outfit.sleeve_flare * reach,
        ("larm", "hand"): 1 + outfit.sleeve_flare * reach,
    }
    for side in SIDES:
        for (limb, following), scale in widening.items():
            chosen = tights & (body.vertex_segment == limb + side)
            start, end = joints[body.joint(limb + side)], joints[body.joint(following + side)]
            _widen(vertices, chosen, start, end, scale)


def _widen(vertices: NDArray, chosen: NDArray, start: NDArray, end: NDArray, scale: NDArray):
    """Scales the chosen vertices away from the bone start..end."""
    bone = end - start
    along = np.clip((vertices[chosen] - start) @ bone / (bone @ bone), 0, 1)
    centre = start + bone * along[:, None]
    vertices[chosen] = centre + (vertices[chosen] - centre) * scale[chosen, None]


def _shape_skirt(
    vertices: NDArray,
    normals: NDArray,
    body: Body,
    outfit: Outfit,
    marks: Landmarks,
    joints: NDArray,
) -> None:
    skirt = body.vertex_layer == SKIRT
    z = body.canonical[skirt, 2]
    drop = np.clip((marks.waist - 0.05 - z) / (marks.waist - marks.ankle), 0, 1)
    centre = np.array([0.0, joints[body.joint("pelvis")][1]])
    around = vertices[skirt, :2] - centre
    angle = np.arctan2(around[:, 0], -around[:, 1])
    pleats = outfit.pleat_depth * np.sin(outfit.pleats * angle + outfit.pleat_phase)
    radius = 1 + outfit.skirt_flare * drop + pleats * np.minimum(3 * drop, 1)
    flared = around * radius[:, None] + normals[skirt, :2] * 0.01
    snug = 1 - 0.1 * np.clip((z - (marks.waist - 0.12)) / 0.14, 0, 1)
    vertices[skirt, :2] = centre + flared * snug[:, None]
    vertices[skirt, 2] += normals[skirt, 2] * 0.01
