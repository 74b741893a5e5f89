"""Where things are on the canonical body: heights to cut garments at, the head, the arms.

Heights are canonical z in metres.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mannequin.body import BODY, Body, load_body

SIDES = ("L", "R")
ARM = ("uarm", "larm", "hand")


@dataclass(frozen=True)
class Landmarks:
    waist: float
    hip: float
    knee: float
    ankle: float
    neck: float
    head: float  # the head joint, about the height of the mouth's corners
    crown: float
    head_y: float  # centre of the head, front to back
    eye_x: float  # distance of the pupils from the middle plane
    eye_z: float
    is_arm: NDArray[np.bool_]  # (V,)
    arm_position: NDArray[np.float64]  # (V,) 0 shoulder, 1 elbow, 2 wrist; negative on the torso


@lru_cache(maxsize=1)
def landmarks() -> Landmarks:
    body = load_body()
    head = body.canonical[(body.vertex_segment == "head") & (body.vertex_layer == BODY)]
    eyes = body.canonical[body.eyes > 0]
    return Landmarks(
        waist=body.canonical_joint("spine1")[2] + 0.06,
        hip=body.canonical_joint("thighL")[2],
        knee=body.canonical_joint("shinL")[2],
        ankle=body.canonical_joint("footL")[2],
        neck=body.canonical_joint("neck")[2],
        head=body.canonical_joint("head")[2],
        crown=head[:, 2].max(),
        head_y=head[:, 1].mean(),
        eye_x=np.abs(eyes[:, 0]).mean(),
        eye_z=eyes[:, 2].mean(),
        is_arm=np.isin(body.vertex_segment, [bone + side for side in SIDES for bone in ARM]),
        arm_position=_arm_position(body),
    )


def _arm_position(body: Body) -> NDArray[np.float64]:
    position = np.zeros(len(body.canonical))
    for side in SIDES:
        shoulder, elbow, wrist = (body.canonical_joint(n + side) for n in ARM)
        upper, fore = elbow - shoulder, wrist - elbow
        along_upper = (body.canonical - shoulder) @ upper / (upper @ upper)
        along_fore = 1 + (body.canonical - elbow) @ fore / (fore @ fore)
        along = np.where(along_upper < 1, along_upper, np.maximum(along_fore, 1))
        arm = np.isin(body.vertex_segment, [bone + side for bone in ARM])
        position[arm] = along[arm]
        on_side = (body.canonical[:, 0] > 0) == (side == "L")
        torso = (body.vertex_segment == "torso") & on_side
        below_elbow = np.maximum(elbow[2] - body.canonical[:, 2], 0)
        position[torso] = (np.clip(along, -1, -0.02) - 4 * below_elbow)[torso]
    return position
