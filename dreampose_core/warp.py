"""The reference's pixels carried along the body surface into another pose, without learning.

A pixel of the target with part I and coordinates U, V takes its colour from where the reference
shows the same point of the surface. A point that the reference hides is taken from the nearest
seen one: of the same part, of its front/back twin, or of the other side's limb. Pixels outside
the body (skirts, hair, gaps between the legs) move with the nearest body pixel, and what remains
is backdrop. A moving arm takes along nothing that it only hung beside (a skirt, trousers), nor the
body a copy of the arm. The tables of parts hold for the chart `mannequin`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

BINS = 32
CLASSES = ("backdrop", "extension", "seen", "hidden")

_FRONT_BACK = ((1, 2), (7, 9), (8, 10), (11, 13), (12, 14), (15, 17), (16, 18), (19, 21), (20, 22))
_LEFT_RIGHT = (
    (3, 4),
    (5, 6),
    (7, 8),
    (9, 10),
    (11, 12),
    (13, 14),
    (15, 16),
    (17, 18),
    (19, 20),
    (21, 22),
) + ((23, 24),)
_TWIN_PENALTY, _MIRROR_PENALTY = 6.0, 10.0
_CONFIDENCE_BINS = 4.0
_SEEN = 0.6
_HEAD = 23
_ARM = np.isin(np.arange(25), (3, 4, *range(15, 23)))
"""Which parts are hands and arms: thin, and moved more than what they hang beside."""
_OUTERMOST = 0.5
_FOREIGN = 14
"""Grey levels by which something differs from the backdrop."""
_REACH, _AROUND, _OUTLINE, _SMOOTH, _SETTLE = 0.2, 0.1, 0.03, 0.02, 0.006
_GRAZE, _GRAZE_ARM = 0.015, 0.01
"""As shares of the picture's height."""


def _involution(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    table = np.arange(25)
    for a, b in pairs:
        table[a], table[b] = b, a
    return table


_TWIN, _MIRROR = _involution(_FRONT_BACK), _involution(_LEFT_RIGHT)


@dataclass(frozen=True)
class Surface:
    """Where the reference shows each surface point, and what its pixels have to do with the body.

    `place` (25, BINS, BINS, 2) float32: x, y in reference pixels for part, U bin, V bin;
    `distance` (25, BINS, BINS): bins to the nearest seen point plus penalties for borrowing;
    of each pixel (H, W) `depth`: distance to the outline from inside the body, `deep`: whether
    it lies clearly inside, `beside_arm`: whether an arm or a hand is the nearest of the body.
    """

    place: np.ndarray
    distance: np.ndarray
    depth: np.ndarray
    deep: np.ndarray
    beside_arm: np.ndarray


def reference_surface(iuv: np.ndarray) -> Surface:
    """Read the surface off one reference IUV image uint8 (H, W, 3)."""
    y, x = np.nonzero(iuv[..., 0])
    part = iuv[y, x, 0].astype(np.intp)
    u, v = (iuv[y, x, 1:].astype(np.intp) * BINS // 256).T
    cell = (part * BINS + u) * BINS + v
    size = 25 * BINS * BINS
    count = np.bincount(cell, minlength=size)
    sums = np.stack([np.bincount(cell, weights, size) for weights in (x, y)], 1)
    place = (sums / np.maximum(count, 1)[:, None]).reshape(25, BINS, BINS, 2)
    distance = np.full((25, BINS, BINS), 1e3)
    seen = count.reshape(25, BINS, BINS) > 0
    for p in np.unique(part):
        distance[p], (iu, iv) = distance_transform_edt(~seen[p], return_indices=True)
        place[p] = place[p, iu, iv]
    parts = iuv[..., 0]
    depth = cv2.distanceTransform((parts > 0).astype(np.uint8), cv2.DIST_L2, 5)
    deep = depth >= np.where(_ARM[parts], _GRAZE_ARM, _GRAZE) * len(iuv)
    _, nx, ny = _nearest(parts > 0)
    place, distance = _borrow(place.astype(np.float32), distance.astype(np.float32))
    return Surface(place, distance, depth, deep, _ARM[parts[ny, nx]])


def _borrow(place: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let hidden points borrow from the front/back twin, the mirrored limb, and its twin.

    Front and back run against each other in U, and so do left and right but for the head's.
    """
    no_twin = np.where(np.arange(25) == _TWIN, 1e3, 0)[:, None, None]
    other_way = (np.arange(25) < _HEAD)[:, None, None]

    def mirrored(values: np.ndarray) -> np.ndarray:
        swapped = values[_MIRROR]
        return np.where(other_way.reshape(-1, *[1] * (values.ndim - 1)), swapped[:, ::-1], swapped)

    def twin(values: np.ndarray) -> np.ndarray:
        return values[_TWIN][:, ::-1]

    choices = [
        (place, distance),
        (twin(place), twin(distance) + no_twin + _TWIN_PENALTY),
        (mirrored(place), mirrored(distance) + _MIRROR_PENALTY),
        (
            twin(mirrored(place)),
            twin(mirrored(distance)) + no_twin + _MIRROR_PENALTY + _TWIN_PENALTY,
        ),
    ]
    best = np.argmin([d for _, d in choices], 0)
    take = np.take_along_axis
    distances = take(np.stack([d for _, d in choices]), best[None], 0)[0]
    places = take(np.stack([p for p, _ in choices]), best[None, ..., None], 0)[0]
    return places.astype(np.float32), distances.astype(np.float32)


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
    person = (iuv[..., 0] > 0) | _foreign(image, empty)
    if not person.any():
        return frames
    low, high = np.percentile(image[person], (_OUTERMOST, 100 - _OUTERMOST), axis=0)
    inside = frames.clip(np.minimum(empty, np.floor(low)), np.maximum(empty, np.ceil(high)))
    return inside.astype(np.uint8)


def warp(
    image: np.ndarray,
    surface: Surface,
    iuv: np.ndarray,
    empty: np.ndarray,
    target: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Carry `image` (H, W, 3) with its IUV into the pose `target` (H, W, 3), both uint8.

    `surface` is `reference_surface(iuv)` and `empty` is `backdrop(image, iuv)`. Returns the
    warped picture uint8 (H, W, 3) and the share of each of CLASSES a pixel, float32 (H, W, 4).
    """
    height, width = target.shape[:2]
    body = target[..., 0] > 0
    classes = np.zeros((height, width, 4), np.float32)
    classes[..., 0] = 1
    if not body.any() or not iuv[..., 0].any():
        return empty.copy(), classes
    y, x = np.nonzero(body)
    part = target[y, x, 0]
    u, v = (target[y, x, 1:].astype(np.intp) * BINS // 256).T
    field = np.zeros((height, width, 2), np.float32)
    field[y, x] = surface.place[part, u, v]
    hidden = np.zeros((height, width), np.float32)
    hidden[y, x] = surface.distance[part, u, v]

    away, bx, by = _nearest(body)
    confidence = np.where(body, np.exp(-hidden / _CONFIDENCE_BINS), 0)
    outside = (
        _extension(field, confidence, surface.depth, bx, by) & ~body & (away < _REACH * height)
    )
    field[~body] = _drift(field, bx, by)[~body]
    outside &= ~_collides(field, surface.deep, outside)

    moved = cv2.remap(
        image, field[..., 0], field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    foreign = _foreign(moved, empty)
    left_behind = _ARM[target[by, bx, 0]] != surface.beside_arm[_pixels(field)]
    outside &= ~(foreign & left_behind)
    oy, ox = np.nonzero(outside & ~_islands(outside & foreign, body))
    classes[y, x, 0], classes[y, x, 2], classes[y, x, 3] = 0, confidence[y, x], 1 - confidence[y, x]
    classes[oy, ox, 0], classes[oy, ox, 1] = 0, 1
    return np.where(classes[..., :1] > 0, empty, moved), classes


def _nearest(body: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the nearest pixel of a mask (H, W), and that pixel's x and y."""
    away, label = cv2.distanceTransformWithLabels(
        (~body).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    y, x = np.nonzero(body)
    at_label = np.zeros((label.max() + 1, 2), np.intp)
    at_label[label[y, x]] = np.stack([x, y], 1)
    return away, *at_label[label].transpose(2, 0, 1)


def _foreign(image: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Where (H, W) a picture differs from the backdrop."""
    return np.abs(image.astype(np.int16) - empty).max(-1) > _FOREIGN


def _pixels(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (H, W) of the pixels nearest to places in the picture."""
    height, width = field.shape[:2]
    x, y = np.rint(field).astype(np.intp).transpose(2, 0, 1)
    return y.clip(0, height - 1), x.clip(0, width - 1)


def _islands(foreign: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Where (H, W) pieces of something outside hang on no body: crumbs of what lay beside it."""
    _, label = cv2.connectedComponents((foreign | body).astype(np.uint8))
    return foreign & ~np.isin(label, np.unique(label[body]))


def _drift(field: np.ndarray, bx: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Source places (H, W, 2) outside the body: the nearest body pixel's shift, smoothed."""
    height, width = bx.shape
    shift = field[by, bx] - np.stack([bx, by], -1)
    smooth = cv2.GaussianBlur(shift, (0, 0), _SMOOTH * height)
    return smooth + np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)


def _extension(
    field: np.ndarray, confidence: np.ndarray, depth: np.ndarray, bx: np.ndarray, by: np.ndarray
) -> np.ndarray:
    """Where (H, W) what lies beside the body moves with it.

    That is beside an outline which is the outline in the reference too (`depth` is the distance
    to it there), around a part of the body that is mostly seen there.
    """
    height = len(bx)
    same = depth[_pixels(field[by, bx])] < _OUTLINE * height
    weight = cv2.GaussianBlur((confidence > 0).astype(np.float32), (0, 0), _AROUND * height)
    seen = cv2.GaussianBlur(confidence, (0, 0), _AROUND * height) / (weight + 1e-6)
    close = (same & (seen[by, bx] > _SEEN)).astype(np.float32)
    return cv2.GaussianBlur(close, (0, 0), _SMOOTH * height) > 0.5


def _collides(field: np.ndarray, deep: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Where (H, W) an outside pixel would copy the picture's rim or the inside of the body."""
    height, width = deep.shape
    sx, sy = np.rint(field).astype(np.intp).transpose(2, 0, 1)
    inside = (sx >= 0) & (sx < width) & (sy >= 0) & (sy < height)
    reach = 2 * round(2 * _GRAZE * height) + 1
    bad = (outside & (~inside | deep[_pixels(field)])).astype(np.uint8)
    return cv2.dilate(bad, np.ones((reach, reach), np.uint8)) > 0
