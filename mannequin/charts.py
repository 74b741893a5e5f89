"""The mannequin's own UV charts: which DensePose part a body face belongs to, and its U, V.

Part numbers are DensePose's (0 background, 1..24). The charts are not: on each part V runs along
the limb and U around it, both in 0..1. Computed on the mean rest body, so a chart point means the
same spot of skin on every subject.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHART_NAME = "mannequin"

# segment -> DensePose part numbers (of its back half, of its front half)
BACK_FRONT_PARTS = {
    "torso": (1, 2),
    "handR": (3, 3),
    "handL": (4, 4),
    "footL": (5, 5),
    "footR": (6, 6),
    "thighR": (7, 9),
    "thighL": (8, 10),
    "shinR": (11, 13),
    "shinL": (12, 14),
    "uarmL": (17, 15),
    "uarmR": (18, 16),
    "larmL": (21, 19),
    "larmR": (22, 20),
}
HEAD_RIGHT_PART, HEAD_LEFT_PART = 23, 24
SEGMENTS = (*BACK_FRONT_PARTS, "head")
NEXT_JOINT = {"thigh": "shin", "shin": "foot", "uarm": "larm", "larm": "hand"}


@dataclass(frozen=True)
class Charts:
    """`part` (F,) uint8 per body face; `uv` (F, 3, 2) in 0..1 per corner of a body face."""

    part: NDArray[np.uint8]
    uv: NDArray[np.float64]


def segment_of_joint(joint: str) -> str:
    if joint.startswith(("pelvis", "spine", "chest", "clav")):
        return "torso"
    return "head" if joint in ("neck", "head") else joint


def segment_weights(
    joint_names: tuple[str, ...], bone_index: NDArray, bone_weight: NDArray
) -> NDArray[np.float64]:
    """Skin weight of every vertex (V) on every one of SEGMENTS (S): (V, S)."""
    joint_segment = np.array([SEGMENTS.index(segment_of_joint(j)) for j in joint_names])
    weights = np.zeros((len(bone_index), len(SEGMENTS)))
    for k in range(bone_index.shape[1]):
        np.add.at(
            weights,
            (np.arange(len(bone_index)), joint_segment[bone_index[:, k]]),
            bone_weight[:, k],
        )
    return weights


def build_charts(
    vertices: NDArray, joints: dict[str, NDArray], body_faces: NDArray, weights: NDArray
) -> Charts:
    """Chart of the mean body. vertices (V, 3) m, body_faces (F, 3), weights (V, S)."""
    face_segment = weights[body_faces].sum(1).argmax(1)
    part = np.zeros(len(body_faces), np.uint8)
    uv = np.zeros((len(body_faces), 3, 2))
    for index, segment in enumerate(SEGMENTS):
        faces = np.flatnonzero(face_segment == index)
        corners = vertices[body_faces[faces]]
        origin, axis, front = _limb_frame(segment, joints, corners)
        offset = corners - origin
        along = offset @ axis
        angle = np.arctan2(offset @ np.cross(axis, front), offset @ front)
        middle = np.arctan2(np.sin(angle).mean(1), np.cos(angle).mean(1))[:, None]
        angle = middle + np.angle(np.exp(1j * (angle - middle)))
        if segment == "head":
            left = corners[..., 0].mean(1) > 0
            part[faces] = np.where(left, HEAD_LEFT_PART, HEAD_RIGHT_PART)
            u = np.where(left[:, None], angle, -angle) / np.pi
        else:
            back_part, front_part = BACK_FRONT_PARTS[segment]
            if back_part == front_part:
                part[faces] = front_part
                u = (angle + np.pi) / (2 * np.pi)
            else:
                faces_front = np.abs(middle) < np.pi / 2
                part[faces] = np.where(faces_front[:, 0], front_part, back_part)
                u = np.where(faces_front, angle, angle - np.sign(middle) * np.pi) / np.pi + 0.5
        uv[faces, :, 0] = np.clip(u, 0, 1)
        uv[faces, :, 1] = (along - along.min()) / np.ptp(along)
    return Charts(part, uv)


def _limb_frame(
    segment: str, joints: dict[str, NDArray], corners: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Origin (3,), unit axis along the segment and unit front direction across it."""
    limb, side = segment[:-1], segment[-1]
    front = np.array([0.0, -1.0, 0.0])
    if limb in NEXT_JOINT:
        origin = joints[segment]
        axis = joints[NEXT_JOINT[limb] + side] - origin
    elif limb == "hand":
        origin = joints[segment]
        axis = origin - joints["larm" + side]
    elif limb == "foot":
        origin, axis, front = joints[segment], front, np.array([0.0, 0.0, 1.0])
    else:
        origin = np.array([0.0, corners[..., 1].mean(), 0.0])
        axis = np.array([0.0, 0.0, 1.0])
    axis = axis / np.linalg.norm(axis)
    front = front - axis * (front @ axis)
    return origin, axis, front / np.linalg.norm(front)
