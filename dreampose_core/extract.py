"""Any photo or clip to a frames folder: one picture at a time, so that length costs no memory.

Photos are read by `photo`, everything else by `footage`; here frames are chosen (start, end, rate),
scaled down and written. A folder of photos of one person is read in the order of its names, each
photo fitted to the size of the first.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from common.errors import InputError
from common.files import publish
from common.frames import FramesInfo, write_frames, write_info
from common.images import Fit
from common.progress import track
from common.settings import Limits
from dreampose_core.footage import Footage, open_footage
from dreampose_core.photo import read_photo

Frame = TypeVar("Frame")
Timed = tuple[Fraction, Frame]
"""Seconds from the clip's first frame, and the frame."""

NO_LIMITS = Limits()
MIN_SIDE = 16
MAX_PHOTOS = 100
MAX_ASPECT = 8
_ROUNDING = Fraction(1, 1000)
"""Containers round times to a millisecond: so much earlier still counts as on time."""


def extract_frames(
    input: Path,
    out: Path,
    fps: float = 0.0,
    start: float = 0.0,
    end: float = 0.0,
    max_frames: int = 0,
    max_side: int = 1280,
    limits: Limits = NO_LIMITS,
) -> FramesInfo:
    """Write the frames folder `out` from the photo, photos or clip `input`; returns `frames.json`.

    `fps` frames per second are kept, each the nearest in time (0: all frames of the source),
    between the seconds `start` and `end` (0: to the end), at most `max_frames` (0: all), scaled
    down by area to at most `max_side` pixels on the longer side. Raises InputError on anything
    that cannot be used or is over `limits`; `out` is then left as it was.
    """
    _check_arguments(fps, start, end, max_frames, max_side)
    _check_file(input, limits)
    album = photos_in(input)[: max_frames or None] if input.is_dir() else []
    photo = _album_photo(album[0], limits) if album else read_photo(input, limits)
    with publish(out) as partial:
        if photo is not None:
            pictures = _album(photo[0], album[1:], max_side, limits)
            info = FramesInfo(fps="1", rotation=photo[1])
            return write_frames(partial, pictures, info)
        with open_footage(input) as clip:
            clip.check(limits, end)
            return _write_clip(clip, partial, fps, start, end, max_frames, max_side, limits)


def photos_in(folder: Path) -> list[Path]:
    """The files of a folder that are not hidden, by name, without its `item.yaml` (settings).

    Raises InputError where there is none, and where one is a link out of the folder.
    """
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != "item.yaml"
    )
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path} is a link out of its folder", "put the photo itself there")
    if not paths or len(paths) > MAX_PHOTOS:
        raise InputError(
            f"{folder} holds {len(paths)} files", f"give a folder of 1 to {MAX_PHOTOS} photos"
        )
    return paths


def _album(
    first: np.ndarray, others: list[Path], max_side: int, limits: Limits
) -> Iterator[np.ndarray]:
    """The first photo, scaled down, and the others fitted to its size, repeating their edges."""
    image = capped(first, max_side)
    yield image
    for path in others:
        other, _ = _album_photo(path, limits)
        capped(other, max_side)
        yield Fit.whole(other.shape[:2], image.shape[:2]).apply(other)


def _album_photo(path: Path, limits: Limits) -> tuple[np.ndarray, int]:
    photo = read_photo(path, limits)
    if photo is None:
        raise InputError(f"{path.name} is no photo", "keep photos only in that folder")
    return photo


def _write_clip(
    clip: Footage,
    out: Path,
    fps: float,
    start: float,
    end: float,
    max_frames: int,
    max_side: int,
    limits: Limits,
) -> FramesInfo:
    rate = Fraction(fps).limit_denominator(1001) if fps else clip.rate
    chosen = between(_limited(clip, limits), start, end)
    chosen = resampled(chosen, rate, 1 / clip.rate) if fps else chosen
    chosen = islice(chosen, max_frames or None)
    times: list[Fraction] = []

    def pictures() -> Iterator[np.ndarray]:
        for time, frame in chosen:
            times.append(time)
            limits.check(clip.name, "frames", len(times))
            yield capped(clip.picture(frame), max_side)

    total = _expected_count(clip, rate, start, end, max_frames)
    try:
        info = write_frames(out, track(pictures(), "frames", total), FramesInfo(str(rate)))
    except InputError:
        if times or not start:
            raise
        raise InputError(
            f"{clip.name} has no frame after {start:g} s", "give a smaller --start"
        ) from None
    stamps = None
    if uneven(times):
        stamps = [round(float(time - times[0]), 6) for time in times]
    info = replace(
        info,
        fps=str(true_rate(times, rate)),
        timestamps=stamps,
        rotation=clip.rotation,
        tone_mapped=clip.tone_mapped,
        audio=clip.audio,
        start=round(float(times[0]), 6),
    )
    if clip.tone_mapped:
        print(f"{clip.name} is HDR: tone-mapped to sRGB", file=sys.stderr)
    write_info(out, info)
    return info


def _limited(clip: Footage, limits: Limits) -> Iterator[Timed]:
    """The clip's frames as far as they keep to the limits, whatever it declares."""
    for time, frame in clip.frames():
        limits.check(clip.name, "seconds", float(time))
        limits.check(clip.name, "megapixels", frame.width * frame.height / 1e6)
        yield time, frame


def between(frames: Iterable[Timed], start: float, end: float) -> Iterator[Timed]:
    """Frames from the second `start` to before the second `end` (0: all that follow)."""
    first, last = Fraction(start) - _ROUNDING, Fraction(end) - _ROUNDING
    for time, frame in frames:
        if end and time >= last:
            return
        if time >= first:
            yield time, frame


def resampled(frames: Iterable[Timed], rate: Fraction, duration: Fraction) -> Iterator[Timed]:
    """Evenly spaced frames, `rate` a second from the first one on, each the nearest in time.

    `duration` is how long the last frame is shown, in seconds.
    """
    before, origin, count = None, Fraction(0), 0
    for time, frame in frames:
        if before is None:
            origin = time
        else:
            while origin + count / rate <= (before[0] + time) / 2:
                yield origin + count / rate, before[1]
                count += 1
        before = time, frame
    while before is not None and origin + count / rate < before[0] + duration:
        yield origin + count / rate, before[1]
        count += 1


def true_rate(times: list[Fraction], declared: Fraction) -> Fraction:
    """Frames per second: as declared if the last frame's time agrees with it, else measured."""
    span, steps = times[-1] - times[0], len(times) - 1
    if abs(span - steps / declared) <= 1 / (4 * declared) + _ROUNDING:
        return declared
    return (steps / span).limit_denominator(1001)


def uneven(times: list[Fraction]) -> bool:
    """Whether the spacing of frames varies by more than a quarter, beyond what is rounding."""
    if len(times) < 3:
        return False
    mean = (times[-1] - times[0]) / (len(times) - 1)
    return any(
        abs(later - sooner - mean) > mean / 4 + _ROUNDING for sooner, later in pairwise(times)
    )


def capped(image: np.ndarray, max_side: int) -> np.ndarray:
    """RGB uint8 (H, W, 3) scaled down by area to at most `max_side` on the longer side.

    Raises InputError where the picture is too small or too narrow to show a person.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(
            f"the picture is {width}×{height} pixels",
            f"give one of at least {MIN_SIDE} pixels a side, at most {MAX_ASPECT} times as long "
            "as wide",
        )
    scale = max_side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _expected_count(
    clip: Footage, rate: Fraction, start: float, end: float, max_frames: int
) -> int:
    seconds = max(0.0, min(float(clip.seconds or end), end or math.inf) - start)
    count = max(1, round(seconds * rate))
    return min(count, max_frames) if max_frames else count


def _check_arguments(fps: float, start: float, end: float, max_frames: int, max_side: int) -> None:
    if not 0 <= fps <= 1000:
        raise InputError(f"--fps {fps:g} is no frame rate", "give 0 to 1000; 0 keeps the source's")
    if not 0 <= start < math.inf or not 0 <= end < math.inf:
        raise InputError(f"--start {start:g} --end {end:g}", "give seconds from 0 on")
    if end and end <= start:
        raise InputError(f"--end {end:g} is not after --start {start:g}", "give a later --end")
    if max_frames < 0:
        raise InputError(f"--max-frames {max_frames} is negative", "give 0 to keep all")
    if max_side < MIN_SIDE:
        raise InputError(f"--max-side {max_side} is too small", f"give {MIN_SIDE} or more")


def _check_file(path: Path, limits: Limits) -> None:
    if path.is_dir():
        for photo in photos_in(path):
            _check_file(photo, limits)
        return
    if not path.is_file():
        raise InputError(f"{path} is not there", "check the name")
    limits.check(path.name, "megabytes", path.stat().st_size / 1e6)
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror})", "check its rights") from None
    if empty:
        raise InputError(f"{path} is empty", "give a photo or clip with something in it")
