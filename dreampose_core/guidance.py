"""Dual classifier-free guidance over two conditions, image c_I and pose c_p.

DreamPose (arXiv 2304.06025), equation 2; it holds for ε- and v-predictions alike.
"""

from __future__ import annotations

from torch import Tensor


def dual_guidance(nothing: Tensor, image: Tensor, both: Tensor, s1: float, s2: float) -> Tensor:
    """Predictions under (∅, ∅), (c_I, ∅), (c_I, c_p): s1 is the image's strength, s2 the pose's."""
    return nothing + s1 * (image - nothing) + s2 * (both - image)


def branch_weights(s1: float, s2: float) -> tuple[float, float, float]:
    """The weights of the three predictions in `dual_guidance`; a zero needs no forward pass."""
    return 1 - s1, s1 - s2, s2
