"""One person followed through a clip, by the overlap of boxes and by score; pure functions.

For every frame there are boxes (N, 4) float, x0, y0, x1, y1 in pixels, and scores (N,) of its N
persons. All persons are followed, so that nobody takes the place of another who is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Literal

import numpy as np

from common.errors import InputError
from common.images import Size

_SAME = 0.1
"""Overlap (intersection over union) from which two boxes may be the same person."""
_LOST = 30
"""Frames after which a person who is not seen is no longer waited for at that place."""
_SPEED_FRAMES = 5
"""Frames over which a box's speed is taken."""
_ALIKE = 2.5
"""Between pieces of one person's track the box's area changes at most so many times."""
_SHORT = 0.5
"""A track of less than this share of the longest one is nobody to choose for its place."""

Track = dict[int, int]
"""A person's index in each frame where the person is seen, in the order of the frames."""
Choice = Literal["largest", "center"] | int


def follow(
    boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray], choice: Choice, size: Size
) -> list[int | None]:
    """The chosen person's index in every frame of a clip of that frame size, None where unseen.

    "largest" is who fills most of the clip, "center" who is nearest to the middle, a number the
    place by score, from 0, in the first frame where somebody is seen. Raises InputError where
    that frame has fewer persons.
    """
    found = tracks(boxes, scores)
    if not found:
        return [None] * len(boxes)
    if choice == "largest":
        chosen = max(found, key=lambda track: _presence(track, boxes, scores))
    elif choice == "center":
        longest = max(map(len, found))
        steady = [track for track in found if len(track) >= _SHORT * longest]
        chosen = min(steady, key=lambda track: _off_centre(track, boxes, size))
    else:
        chosen = _by_score(found, scores, choice)
    rest = sorted(found, key=lambda track: -_presence(track, boxes, scores))
    whole = _joined(chosen, rest, boxes)
    return [whole.get(frame) for frame in range(len(boxes))]


def tracks(boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> list[Track]:
    """Every person's track; each detection is in one, the surest overlaps are joined first."""
    found: list[Track] = []
    for frame, (here, sure) in enumerate(zip(boxes, scores, strict=True)):
        waiting = [track for track in found if frame - _last(track) <= _LOST]
        free = set(range(len(here)))
        if waiting and free:
            expected = np.array([_expected(track, boxes, frame) for track in waiting])
            last = np.array([boxes[_last(track)][track[_last(track)]] for track in waiting])
            overlap = np.maximum(overlaps(expected, here), overlaps(last, here) / 2)
            match = np.where(overlap >= _SAME, overlap * sure, 0)
            while match.any():
                track, person = np.unravel_index(match.argmax(), match.shape)
                waiting[track][frame] = int(person)
                free.remove(int(person))
                match[track], match[:, person] = 0, 0
        found += [{frame: person} for person in sorted(free)]
    return found


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    union = _areas(first)[:, None] + _areas(second)[None] - common
    return common / np.maximum(union, 1e-6)


def _last(track: Track) -> int:
    return next(reversed(track))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1)


def _expected(track: Track, boxes: Sequence[np.ndarray], frame: int) -> np.ndarray:
    """The track's last box (4,), moved on at the speed of its last frames."""
    recent = list(islice(reversed(track), _SPEED_FRAMES))
    end, begin = recent[0], recent[-1]
    first, last = (boxes[at][track[at]] for at in (begin, end))
    shift = (last + np.roll(last, 2) - first - np.roll(first, 2)) / 2
    return last + shift * (frame - end) / max(1, end - begin)


def _boxes_of(track: Track, boxes: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([boxes[frame][person] for frame, person in track.items()])


def _presence(track: Track, boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> float:
    """Area times score, summed over the clip."""
    sure = np.array([scores[frame][person] for frame, person in track.items()])
    return float((_areas(_boxes_of(track, boxes)) * sure).sum())


def _off_centre(track: Track, boxes: Sequence[np.ndarray], size: Size) -> float:
    """Mean distance of the box's middle from the frame's, in pixels."""
    own = _boxes_of(track, boxes)
    middles = (own[:, :2] + own[:, 2:]) / 2
    return float(np.linalg.norm(middles - np.array(size[::-1]) / 2, axis=1).mean())


def _by_score(found: Sequence[Track], scores: Sequence[np.ndarray], place: int) -> Track:
    frame = min(min(track) for track in found)
    order = np.argsort(-scores[frame], kind="stable")
    if not 0 <= place < len(order):
        raise InputError(
            f"there is no person {place}: frame {frame} shows {len(order)}",
            "the first is --person 0; or give largest or center",
        )
    return next(track for track in found if track.get(frame) == order[place])


def _joined(chosen: Track, others: Sequence[Track], boxes: Sequence[np.ndarray]) -> Track:
    """The track with those of similar size that share no frame with it: the person seen again."""
    whole = dict(chosen)
    area = np.median(_areas(_boxes_of(chosen, boxes)))
    for other in others:
        ratio = np.median(_areas(_boxes_of(other, boxes))) / max(area, 1e-6)
        if not whole.keys() & other.keys() and 1 / _ALIKE <= ratio <= _ALIKE:
            whole |= other
    return whole
