"""What half a pixel costs in part IoU at 160×128: `python bench/half_pixel.py`.

True IUV of benchmark subjects, rendered at twice the size and read at every second pixel: from the
even ones, and from those half a pixel (of 160×128) beside them.
"""

from __future__ import annotations

import numpy as np

from common.pose_error import NO_PIXELS, pose_error, summary
from mannequin.motion import CLIP_FRAMES, sample_motion
from mannequin.render import render_clip
from mannequin.split import BENCHMARK, HELD_OUT_FAMILY
from mannequin.subject import sample_subject

SUBJECTS, MOTIONS = BENCHMARK.subjects[:12], BENCHMARK.motions[1:4]
SHIFTS = {"half right": (0, 1), "half down": (1, 0), "half both": (1, 1), "one right": (0, 2)}


def truth(subject: int, motion: int) -> np.ndarray:
    """IUV (T, 320, 256, 3) of a subject in a motion."""
    moves = sample_motion(HELD_OUT_FAMILY, motion)
    some = np.linspace(0, CLIP_FRAMES - 1, 12).round().astype(int)
    return render_clip(
        sample_subject(subject), moves, height=320, width=256, frame_indices=some, supersample=1
    )[1]


if __name__ == "__main__":
    errors = dict.fromkeys(SHIFTS, NO_PIXELS)
    for row, subject in enumerate(SUBJECTS):
        iuv = truth(subject, MOTIONS[row % len(MOTIONS)])
        for name, (down, right) in SHIFTS.items():
            beside = np.roll(iuv, (-down, -right), (1, 2))[:, ::2, ::2]
            errors[name] += pose_error(beside, iuv[:, ::2, ::2])
    print(f"{len(SUBJECTS)} subjects × 12 frames, pixels of 160×128")
    for name, error in errors.items():
        print(name, *(f"{key} {value:.3f}" for key, value in summary(error).items()))
