"""Rotations and forward kinematics: a motion put on a subject's rest joints.

Rotation stacks are (T, 3, 3), one a frame, acting on column vectors. Angles are radians.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mannequin.body import Body
from mannequin.motion import ArmCurves, Motion

X_AXIS, Y_AXIS, Z_AXIS = np.eye(3)
FRONT = -Y_AXIS


def rotation(axis: ArrayLike, angle: ArrayLike) -> NDArray[np.float64]:
    """About one axis (3,) by angles (T,): (T, 3, 3)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.asarray(angle, float)[..., None, None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def rotation_between(start: NDArray, end: NDArray) -> NDArray[np.float64]:
    """Shortest turns from unit start (3,) to unit ends (T, 3): (T, 3, 3)."""
    x, y, z = np.cross(start, end).T
    zero = np.zeros(len(end))
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    return np.eye(3) + cross + cross @ cross / (1 + end @ start)[:, None, None]


def pose(
    motion: Motion, body: Body, joints: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Skinning transforms R (T, J, 3, 3) and t (T, J, 3) of rest joints (J, 3) in a motion."""
    local = _trunk_and_legs(motion)
    for side, arm in motion.arms.items():
        bones = {n: joints[body.joint(n + side)] for n in ("uarm", "larm", "hand")}
        local |= _arm(side, arm, bones)
    root = rotation(Z_AXIS, motion.yaw)
    weight = motion.weight_shift
    root_offset = np.stack([0.045 * weight, 0 * weight, -0.012 * np.abs(weight)], 1)
    still = np.broadcast_to(np.eye(3), root.shape)
    rotations = np.empty((len(root), len(body.parents), 3, 3))
    translations = np.empty((len(root), len(body.parents), 3))
    for k, (name, parent) in enumerate(zip(body.joint_names, body.parents, strict=True)):
        turn = local.get(name, still)
        if parent < 0:
            rotations[:, k] = root @ turn
            place = root_offset + joints[k]
        else:
            rotations[:, k] = rotations[:, parent] @ turn
            place = rotations[:, parent] @ joints[k] + translations[:, parent]
        translations[:, k] = place - rotations[:, k] @ joints[k]
    return rotations, translations


def _trunk_and_legs(motion: Motion) -> dict[str, NDArray[np.float64]]:
    roll, lean, twist = motion.roll, motion.lean, motion.twist
    local = {
        "pelvis": rotation(Y_AXIS, roll),
        "spine1": rotation(Y_AXIS, -0.5 * roll)
        @ rotation(X_AXIS, 0.4 * lean)
        @ rotation(Z_AXIS, 0.3 * twist),
        "spine2": rotation(Y_AXIS, -0.4 * roll)
        @ rotation(X_AXIS, 0.3 * lean)
        @ rotation(Z_AXIS, 0.3 * twist),
        "chest": rotation(X_AXIS, 0.3 * lean - motion.breath) @ rotation(Z_AXIS, 0.4 * twist),
        "neck": rotation(X_AXIS, motion.neck_nod) @ rotation(Z_AXIS, 0.4 * motion.head_turn),
        "head": rotation(X_AXIS, motion.head_nod)
        @ rotation(Z_AXIS, 0.6 * motion.head_turn)
        @ rotation(Y_AXIS, motion.head_tilt),
    }
    for side, leg in motion.legs.items():
        flexion = 0.55 * leg.knee + leg.hip_flexion
        local["thigh" + side] = (
            rotation(Y_AXIS, -roll - leg.outward)
            @ rotation(X_AXIS, -flexion)
            @ rotation(Z_AXIS, leg.toe_out)
        )
        local["shin" + side] = rotation(X_AXIS, leg.knee)
        local["foot" + side] = rotation(X_AXIS, flexion - leg.knee)
    return local


def _arm(side: str, arm: ArmCurves, bones: dict[str, NDArray]) -> dict[str, NDArray[np.float64]]:
    outward = 1.0 if side == "L" else -1.0
    upper = _unit(bones["larm"] - bones["uarm"])
    fore = _unit(bones["hand"] - bones["larm"])
    hinge = np.cross(fore, FRONT)
    direction = np.stack(
        [
            outward * np.sin(arm.abduction),
            -np.sin(arm.flexion) * np.cos(arm.abduction),
            -np.cos(arm.flexion) * np.cos(arm.abduction),
        ],
        1,
    )
    shrug = 0.15 * np.clip(arm.abduction - 0.3, 0, 1)
    return {
        "clav" + side: rotation(Y_AXIS, -outward * shrug),
        "uarm" + side: rotation_between(upper, direction) @ rotation(upper, outward * arm.twist),
        "larm" + side: rotation(hinge, arm.elbow),
        "hand" + side: rotation(hinge, arm.wrist_bend) @ rotation(fore, outward * arm.wrist_twist),
    }


def _unit(vector: NDArray) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)
