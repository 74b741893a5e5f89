"""A clip as upright RGB pictures with their times, streaming, through PyAV.

Applied: the display matrix (rotation, mirroring), the pixel aspect, the declared colour matrix,
range and transfer (HDR is tone-mapped to sRGB), transparency (on white).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from common.errors import InputError
from common.images import on_white
from common.settings import Limits

_TEXT_ART = ("ansi", "bintext", "xbin", "idf")
"""Codecs by which ffmpeg draws text files as video."""
_OPTIONS = {
    "format_whitelist": "apng,asf,av1,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp3,"
    "mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,vc1,webm,webp_pipe,yuv4mpegpipe",
    "protocol_whitelist": "file",
}
"""Containers that hold their pictures themselves: playlists name other files and addresses."""
_UNDECLARED = 2
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_SCALING = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
_WHOLE = 0.8
"""A clip that ends before this share of its declared duration was cut off."""


class Footage:
    """An open clip. `rate` frames per second, `seconds` its declared duration or None."""

    def __init__(self, container: av.container.InputContainer, name: str):
        self.name = name
        self._container, self._stream = container, _moving_pictures(container, name)
        self._stream.thread_type = "AUTO"
        self._decoder = _alpha_decoder(self._stream) or self._stream.codec_context
        self._reformatter = VideoReformatter()
        self.audio = bool(container.streams.audio)
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        self.seconds = _declared_seconds(container, self._stream)
        self._matrix: tuple[int, ...] | None = None
        self.rotation = 0
        self.tone_mapped = False

    def check(self, limits: Limits, end: float) -> None:
        """Raises InputError where what the clip declares, up to the second `end`, is too much."""
        context = self._stream.codec_context
        limits.check(self.name, "megapixels", context.width * context.height / 1e6)
        seconds = float(self.seconds or 0)
        limits.check(self.name, "seconds", min(seconds, end) if end else seconds)

    def frames(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Decoded frames with their seconds from the first one, strictly increasing.

        Raises InputError at the end where the clip is damaged or cut off, so that a reader who
        stops earlier can use the part before.
        """
        first, time, covered, damaged = None, None, Fraction(0), False
        try:
            for packet in self._container.demux(self._stream):
                damaged |= packet.is_corrupt
                for frame in self._decoder.decode(packet):
                    damaged |= frame.is_corrupt
                    stamp = None if frame.pts is None else frame.pts * frame.time_base
                    first = stamp if first is None else first
                    now = None if stamp is None else stamp - first
                    if time is not None and (now is None or now <= time):
                        now = time + 1 / self.rate
                    time = now or Fraction(0)
                    covered = time + max(frame.duration * frame.time_base, 1 / self.rate)
                    yield time, frame
        except av.FFmpegError:
            damaged = True
        if damaged or (self.seconds and covered < _WHOLE * self.seconds):
            raise InputError(
                f"{self.name} is damaged or cut off after about {float(covered):.2f} s",
                "get the whole file, or keep the part before with --end",
            )

    def picture(self, frame: av.VideoFrame) -> np.ndarray:
        """A decoded frame as RGB uint8 (H, W, 3), upright, square pixels."""
        alpha = any(component.is_alpha for component in frame.format.components)
        undeclared = frame.colorspace == _UNDECLARED
        high_definition = frame.width >= 1280 or frame.height > 576
        guess = Colorspace.ITU709 if high_definition else Colorspace.ITU601
        hdr = frame.color_trc in _HDR
        aspect = self._stream.sample_aspect_ratio or 1
        converted = self._reformatter.reformat(
            frame,
            width=round(frame.width * aspect) if 1 / 8 < aspect < 8 else frame.width,
            format="rgba" if alpha else "rgb24",
            src_colorspace=guess if undeclared else None,
            dst_color_range=ColorRange.JPEG,
            dst_color_trc=ColorTrc.IEC61966_2_1 if hdr else None,
            dst_color_primaries=ColorPrimaries.BT709 if hdr else None,
            interpolation=_SCALING,
            threads=1,
        )
        self.tone_mapped |= hdr
        if self._matrix is None:
            self._matrix, self.rotation = _display_matrix(frame), -frame.rotation % 360
        pixels = converted.to_ndarray()
        return _upright(on_white(pixels) if alpha else pixels, self._matrix)


@contextmanager
def open_footage(path: Path) -> Iterator[Footage]:
    """Open any file that ffmpeg reads as moving pictures. Raises InputError where it cannot."""
    try:
        container = av.open(str(path.absolute()), options=_OPTIONS)
    except (av.FFmpegError, UnicodeError):
        raise InputError(
            f"{path.name} is neither a photo nor a clip that can be read",
            "give a whole file, e.g. JPEG or PNG, or mp4, mov, mkv, webm or gif",
        ) from None
    with container:
        yield Footage(container, path.name)


def _moving_pictures(container: av.container.InputContainer, name: str) -> av.VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if streams and streams[0].codec_context is None:
        raise InputError(f"{name} has an unknown video codec", "convert it to H.264 first")
    if not streams or streams[0].codec_context.name in _TEXT_ART:
        raise InputError(f"{name} has no pictures in it", "give a clip with a video stream")
    return streams[0]


def _alpha_decoder(stream: av.VideoStream) -> av.CodecContext | None:
    """A decoder for transparency in WebM, which ffmpeg's own VP8 and VP9 decoders drop."""
    decoder = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if stream.metadata.get("alpha_mode") != "1" or decoder is None:
        return None
    return av.CodecContext.create(decoder, "r")


def _declared_seconds(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    if stream.duration:
        return stream.duration * stream.time_base
    alone = len(container.streams) == 1 and container.duration
    return Fraction(container.duration, av.time_base) if alone else None


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """How x and y of the stored picture go over into the shown one: x→x, x→y, y→x, y→y.

    Asked of a clip's first frame only: a frame whose side data was looked at is freed late.
    """
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    return tuple(np.frombuffer(side_data, np.int32)[[0, 1, 3, 4]])


def _upright(image: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Turn and mirror a picture as a display matrix says, to the nearest quarter turn."""
    across, across_to_down, down_to_across, down = matrix
    if abs(across_to_down) > abs(across):
        image, across, down = image.swapaxes(0, 1), down_to_across, across_to_down
    image = image[:, ::-1] if across < 0 else image
    image = image[::-1] if down < 0 else image
    return np.ascontiguousarray(image)
