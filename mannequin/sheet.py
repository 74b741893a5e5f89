"""A contact sheet to look at: a row of RGB frames over a row of coloured IUV for each subject."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.poses import colour
from mannequin.motion import sample_motion
from mannequin.render import render_clip
from mannequin.subject import sample_subject


def contact_sheet(
    clips: Sequence[tuple[int, int, str]], columns: int, height: int, width: int
) -> NDArray[np.uint8]:
    """clips are (subject seed, motion seed, family); returns one RGB image."""
    rows = []
    for subject, motion, family in clips:
        moves = sample_motion(family, motion)
        frames = np.linspace(0, len(moves) - 1, columns).round().astype(int)
        rgb, iuv = render_clip(
            sample_subject(subject), moves, height=height, width=width, frame_indices=frames
        )
        rows += [np.concatenate(list(rgb), 1), np.concatenate(list(colour(iuv)), 1)]
    return np.concatenate(rows)
