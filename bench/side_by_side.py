"""What benches of the model share: the clock, and a mannequin's clip at the model's size."""

from __future__ import annotations

import time

import numpy as np
import torch

from dreampose_core.pipeline import DreamPosePipeline
from mannequin.motion import sample_motion
from mannequin.render import render_clip
from mannequin.subject import sample_subject

SUBJECT, MOTION = 200_003, 300_000


def clock() -> float:
    """Seconds; on a GPU all that was asked for is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def clip_of(model: DreamPosePipeline, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and IUV (T, H, W, 3) uint8 of a held-out mannequin."""
    config = model.conditioning.config
    size = {"height": config.height, "width": config.width}
    return render_clip(sample_subject(SUBJECT), sample_motion("showcase", MOTION, frames), **size)
