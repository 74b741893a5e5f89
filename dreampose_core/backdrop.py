"""What is behind the person: read off the reference, and kept still in the result."""

from __future__ import annotations

import cv2
import numpy as np

_FOREIGN = 14
"""Grey levels by which something differs from the backdrop."""
_OUTERMOST = 0.5
_SETTLE = 0.006
"""As a share of the picture's height."""


def backdrop(image: np.ndarray, iuv: np.ndarray) -> np.ndarray:
    """The reference with the person's surroundings replaced by each row's median backdrop."""
    height, width = iuv.shape[:2]
    reach = max(3, height // 3) | 1
    person = cv2.dilate((iuv[..., 0] > 0).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    border = np.zeros_like(person)
    edge = max(1, width // 20)
    border[:, :edge] = border[:, -edge:] = True
    open_rows = np.where((~person).any(1)[:, None], ~person, border)
    masked = np.ma.masked_array(image, np.broadcast_to(~open_rows[..., None], image.shape))
    rows = np.ma.median(masked, axis=1).filled(128).astype(image.dtype)
    return np.where(person[..., None], rows[:, None], image)


def settled(frames: np.ndarray, image: np.ndarray, iuv: np.ndarray, least: float) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 of a reference and its IUV, quiet where its backdrop shows.

    Halos go (`without_halos`), and what hardly differs from the backdrop becomes it: a pixel keeps
    its change where, averaged around it, the change reaches `least` grey levels, and loses it where
    it is under half of that; between the two it keeps a share.
    """
    empty = backdrop(image, iuv)
    change = without_halos(frames, image, iuv, empty).astype(np.float32) - empty
    size = np.abs(change).max(-1)
    around = np.stack([cv2.GaussianBlur(s, (0, 0), _SETTLE * len(empty)) for s in size])
    share = np.clip(2 * around / least - 1, 0, 1)[..., None]
    return np.rint(empty + share * change).astype(np.uint8)


def without_halos(
    frames: np.ndarray, image: np.ndarray, iuv: np.ndarray, empty: np.ndarray
) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 whose pixels stay within what the reference can show there.

    That is, in each channel, between the darkest and the brightest of the backdrop `empty` at that
    place and of the person, the outermost half percent of the person's pixels left out. What
    overshoots beside an outline, where the model was unsure of it, becomes backdrop.
    """
    person = (iuv[..., 0] > 0) | foreign(image, empty)
    if not person.any():
        return frames
    low, high = np.percentile(image[person], (_OUTERMOST, 100 - _OUTERMOST), axis=0)
    inside = frames.clip(np.minimum(empty, np.floor(low)), np.maximum(empty, np.ceil(high)))
    return inside.astype(np.uint8)


def foreign(image: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Where (H, W) a picture differs from the backdrop."""
    return np.abs(image.astype(np.int16) - empty).max(-1) > _FOREIGN
