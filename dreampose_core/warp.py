"""The reference's pixels carried along the body surface into another pose, without learning.

A pixel of the target with part I and coordinates U, V takes its colour from where the reference
shows the same point of the surface. A point that the reference hides is taken from the nearest
seen one: of the same part, of its front/back twin, or of the other side's limb. Pixels outside
the body (skirts, hair, gaps between the legs) move with the nearest body pixel, and what remains
is backdrop. A moving arm takes along nothing that it only hung beside (a skirt, trousers), nor the
body a copy of the arm. The tables of parts hold for the chart `mannequin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt
from scipy.spatial import QhullError

from common.mirror import BACKWARDS, SWAP
from dreampose_core.backdrop import backdrop, foreign

BINS = 32
_CENTRES = np.stack(np.meshgrid(*2 * [(np.arange(BINS) + 0.5) * 255 / BINS], indexing="ij"), -1)
CLASSES = ("backdrop", "extension", "seen", "hidden")

_FRONT_BACK = ((1, 2), (7, 9), (8, 10), (11, 13), (12, 14), (15, 17), (16, 18), (19, 21), (20, 22))
_TWIN_PENALTY, _MIRROR_PENALTY = 6.0, 10.0
_CONFIDENCE_BINS = 4.0
_SEEN = 0.6
_ARM = np.isin(np.arange(25), (3, 4, *range(15, 23)))
"""Which parts are hands and arms: thin, and moved more than what they hang beside."""
_REACH, _AROUND, _OUTLINE, _SMOOTH = 0.2, 0.1, 0.03, 0.02
_GRAZE, _GRAZE_ARM = 0.015, 0.01
_TORN = 0.03
"""As shares of the picture's height."""


def _twins() -> np.ndarray:
    twin = np.arange(25)
    for front, back in _FRONT_BACK:
        twin[front], twin[back] = back, front
    return twin


_TWIN = _twins()


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
    parts = iuv[..., 0]
    place = np.zeros((25, BINS, BINS, 2), np.float32)
    distance = np.full((25, BINS, BINS), 1e3, np.float32)
    for part in np.unique(parts[parts > 0]):
        place[part], distance[part] = _part_places(iuv, part)
    depth = cv2.distanceTransform((parts > 0).astype(np.uint8), cv2.DIST_L2, 5)
    deep = depth >= np.where(_ARM[parts], _GRAZE_ARM, _GRAZE) * len(iuv)
    _, nx, ny = _nearest(parts > 0)
    return Surface(*_borrow(place, distance), depth, deep, _ARM[parts[ny, nx]])


def _part_places(iuv: np.ndarray, part: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one part `place` (BINS, BINS, 2) and `distance` (BINS, BINS).

    Between the part's pixels it is interpolated in the chart, where the picture shows the part
    there; else it is the nearest one's.
    """
    y, x = np.nonzero(iuv[..., 0] == part)
    at, uv = np.stack([x, y], 1).astype(np.float32), iuv[y, x, 1:]
    cell = tuple((uv.astype(np.intp) * BINS // 256).T)
    count = np.zeros((BINS, BINS))
    np.add.at(count, cell, 1)
    mean = np.zeros((BINS, BINS, 2))
    np.add.at(mean, cell, at)
    mean /= np.maximum(count, 1)[..., None]
    distance, (iu, iv) = distance_transform_edt(count == 0, return_indices=True)
    place = mean[iu, iv]
    try:
        between = LinearNDInterpolator(uv, at)(_CENTRES)
    except (QhullError, ValueError):  # fewer than three pixels, or all in a line
        return place, distance
    known = ~np.isnan(between[..., 0])
    column, row = np.rint(between[known]).astype(np.intp).T
    known[known] = iuv[row, column, 0] == part
    place[known] = between[known]
    return place, distance


def _places(place: np.ndarray, part: np.ndarray, uv: np.ndarray, torn: float) -> np.ndarray:
    """Places (N, 2) of points of parts (N,) at U, V uint8 (N, 2): bilinear between bins.

    Where neighbouring bins lie `torn` pixels apart or more the nearest counts.
    """
    where = (uv / 255 * BINS - 0.5).clip(0, BINS - 1)
    low = np.floor(where).astype(np.intp).clip(0, BINS - 2)
    share = np.stack([1 - (where - low), where - low])
    corners = list(np.ndindex(2, 2))
    found = np.stack([place[part, low[:, 0] + i, low[:, 1] + j] for i, j in corners])
    weight = np.stack([share[i, :, 0] * share[j, :, 1] for i, j in corners])[..., None]
    nearest = np.take_along_axis(found, weight.argmax(0)[None], 0)[0]
    whole = (np.ptp(found, 0) < torn).all(-1, keepdims=True)
    return np.where(whole, (weight * found).sum(0), nearest)


def _borrow(place: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let hidden points borrow from the front/back twin, the mirrored limb, and its twin.

    Front and back run against each other in U, and so do left and right but for the head's.
    """
    no_twin = np.where(np.arange(25) == _TWIN, 1e3, 0)[:, None, None]

    def mirrored(values: np.ndarray) -> np.ndarray:
        swapped = values[SWAP]
        turned = BACKWARDS.reshape(-1, *[1] * (values.ndim - 1))
        return np.where(turned, swapped[:, ::-1], swapped)

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


@dataclass(frozen=True)
class Warped:
    """A reference carried into some poses.

    `moved` uint8 (T, H, W, 3) is the picture moved as the body moves, everywhere; `empty` uint8
    (H, W, 3) the reference's backdrop; `shares` float32 (T, H, W, 4), of each of CLASSES, say
    where which of the two counts.
    """

    moved: np.ndarray
    empty: np.ndarray
    shares: np.ndarray

    @property
    def frames(self) -> np.ndarray:
        """The warped picture uint8 (T, H, W, 3)."""
        return np.where(self.shares[..., :1] > 0, self.empty, self.moved)


def warp(image: np.ndarray, iuv: np.ndarray, targets: Sequence[np.ndarray]) -> Warped:
    """Carry `image` (H, W, 3) with its IUV into each of the poses `targets`, all uint8."""
    surface, empty = reference_surface(iuv), backdrop(image, iuv)
    pairs = [_carried(image, surface, empty, target) for target in targets]
    moved, shares = (np.stack(items) for items in zip(*pairs, strict=True))
    return Warped(moved, empty, shares)


def _carried(
    image: np.ndarray, surface: Surface, empty: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The picture moved into one pose (H, W, 3), and the classes' shares (H, W, 4)."""
    height, width = target.shape[:2]
    body = target[..., 0] > 0
    classes = np.zeros((height, width, 4), np.float32)
    classes[..., 0] = 1
    if not body.any() or not surface.depth.any():
        return empty.copy(), classes
    y, x = np.nonzero(body)
    part = target[y, x, 0]
    u, v = (target[y, x, 1:].astype(np.intp) * BINS // 256).T
    field = np.zeros((height, width, 2), np.float32)
    field[y, x] = _places(surface.place, part, target[y, x, 1:], _TORN * height)
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
    strange = foreign(moved, empty)
    left_behind = _ARM[target[by, bx, 0]] != surface.beside_arm[_pixels(field)]
    outside &= ~(strange & left_behind)
    oy, ox = np.nonzero(outside & ~_islands(outside & strange, body))
    classes[y, x, 0], classes[y, x, 2], classes[y, x, 3] = 0, confidence[y, x], 1 - confidence[y, x]
    classes[oy, ox, 0], classes[oy, ox, 1] = 0, 1
    return moved, classes


def _nearest(body: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the nearest pixel of a mask (H, W), and that pixel's x and y."""
    away, label = cv2.distanceTransformWithLabels(
        (~body).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    y, x = np.nonzero(body)
    at_label = np.zeros((label.max() + 1, 2), np.intp)
    at_label[label[y, x]] = np.stack([x, y], 1)
    return away, *at_label[label].transpose(2, 0, 1)


def _pixels(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (H, W) of the pixels nearest to places in the picture."""
    height, width = field.shape[:2]
    x, y = np.rint(field).astype(np.intp).transpose(2, 0, 1)
    return y.clip(0, height - 1), x.clip(0, width - 1)


def _islands(strange: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Where (H, W) pieces of something outside hang on no body: crumbs of what lay beside it."""
    _, label = cv2.connectedComponents((strange | body).astype(np.uint8))
    return strange & ~np.isin(label, np.unique(label[body]))


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
