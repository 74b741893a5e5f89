"""Augmentation of (frame, IUV) pairs for the IUV network: pure functions of a random generator.

Frames are RGB uint8 (H, W, 3), IUV uint8 (H, W, 3); both keep their size.
"""

from __future__ import annotations

import cv2
import numpy as np

from common.mirror import flipped

_CLOTHES_DIFFERENCE = 14


def person_mask(frame: np.ndarray, iuv: np.ndarray) -> np.ndarray:
    """Person with clothes and hair (H, W) bool, where the backdrop is plain along each row."""
    edge = max(2, frame.shape[1] // 20)
    border = np.concatenate([frame[:, :edge], frame[:, -edge:]], 1)
    backdrop = np.median(border, 1)[:, None]
    apart = np.abs(frame - backdrop).max(-1) > _CLOTHES_DIFFERENCE
    mask = (apart | (iuv[..., 0] > 0)).astype(np.uint8)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0


def random_backdrop(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """A flat, graded, blotched or cluttered backdrop, RGB uint8 (H, W, 3)."""
    height, width = size
    cells = int(random.choice([1, 2, 5, 12, 30]))
    contrast = random.uniform(5, 70)
    coarse = random.normal(random.uniform(40, 235, 3), contrast, (cells + 1, cells + 1, 3))
    how = cv2.INTER_NEAREST if random.random() < 0.3 else cv2.INTER_CUBIC
    picture = cv2.resize(coarse.clip(0, 255).astype(np.float32), (width, height), interpolation=how)
    return picture.clip(0, 255).astype(np.uint8)


def moved(
    frame: np.ndarray, iuv: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scaled, shifted, slightly turned alike, sometimes so far that the body is cut off."""
    height, width = iuv.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), random.normal(0, 3), random.choice([1, random.uniform(0.55, 1.5)])
    )
    matrix[:, 2] += random.normal(0, 0.07, 2) * (width, height)
    size = (width, height)
    return (
        cv2.warpAffine(
            frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        cv2.warpAffine(iuv, matrix, size, flags=cv2.INTER_NEAREST),
    )


def lit(frame: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Another light: colour cast, contrast, gamma, and a slope of brightness."""
    height, width = frame.shape[:2]
    picture = frame.astype(np.float32) / 255
    slope = np.linspace(-1, 1, width)[None, :, None] * random.normal(0, 0.15)
    slope = slope + np.linspace(-1, 1, height)[:, None, None] * random.normal(0, 0.15)
    picture = picture ** np.exp(random.normal(0, 0.25)) * random.normal(1, 0.08, 3)
    picture = (picture - 0.5) * random.uniform(0.7, 1.2) + 0.5 + slope + random.normal(0, 0.07)
    return (picture * 255).clip(0, 255).astype(np.uint8)


def degraded(frame: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What cameras and codecs do: blur, noise, JPEG, each now and then."""
    if random.random() < 0.4:
        frame = cv2.GaussianBlur(frame, (0, 0), random.uniform(0.3, 1.3))
    if random.random() < 0.5:
        noise = random.normal(0, random.uniform(1, 14), frame.shape)
        frame = (frame + noise).clip(0, 255).astype(np.uint8)
    if random.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 90))]
        frame = cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_COLOR)
    return frame


def augmented(
    frame: np.ndarray, iuv: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One random variation of a training pair."""
    if random.random() < 0.5:
        frame, iuv = flipped(frame, iuv)
    if random.random() < 0.6:
        mask = person_mask(frame, iuv)
        frame = np.where(mask[..., None], frame, random_backdrop(mask.shape, random))
    frame, iuv = moved(frame, iuv, random)
    if random.random() < 0.8:
        frame = lit(frame, random)
    return degraded(frame, random), iuv
