"""Pictures to an H.264 mp4 that has the same bytes on every machine.

Always imageio-ffmpeg's own binary, one thread, bit-exact; the only metadata is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

from common.errors import InputError
from common.images import Size

_SCALING = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_BT709 = {"range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
Sound = tuple[ffmpeg.Stream, dict[str, str]]
"""A stream and how it goes into the mp4."""


def write_video(
    out: Path,
    pictures: Iterable[np.ndarray],
    size: Size,
    fps: str,
    comment: str,
    *,
    crf: int = 16,
    scale: int = 1,
    sound: Sound | None = None,
) -> None:
    """Write RGB uint8 (H, W, 3) pictures of that size as an mp4; give it a `publish()` path.

    `crf` is x264's quality, 0 (lossless) to 51; `scale` enlarges so many times (Lanczos). An odd
    side gets its last row or column once more, because 4:2:0 video has even sides. Raises
    InputError where ffmpeg cannot write it.
    """
    odd = [(0, side * scale % 2) for side in size]
    height, width = (side + pad for side, (_, pad) in zip(size, odd, strict=True))
    video = ffmpeg.input(
        "pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=fps
    ).filter(
        "scale",
        width * scale,
        height * scale,
        flags=_SCALING,
        out_color_matrix="bt709",
        out_range="tv",
    )
    video = video.filter("format", "yuv420p").filter("setparams", **_BT709)
    padded = (np.pad(picture, [*odd, (0, 0)], mode="edge").tobytes() for picture in pictures)
    _encode(video, sound, out, padded, crf, comment)


def _encode(
    video: ffmpeg.Stream,
    sound: Sound | None,
    out: Path,
    pictures: Iterable[bytes],
    crf: int,
    comment: str,
) -> None:
    streams, audio_options = ([video, sound[0]], sound[1]) if sound else ([video], {})
    command = ffmpeg.output(
        *streams,
        str(out),
        **audio_options,
        format="mp4",
        movflags="+faststart",
        vcodec="libx264",
        crf=crf,
        preset="medium",
        threads=1,
        **{"x264-params": "cpu-independent=1", "fflags": "+bitexact", "flags": "+bitexact"},
        map_metadata=-1,
        metadata=f"comment={comment}",
    ).global_args("-loglevel", "error", "-filter_threads", "1")
    process = command.run_async(
        cmd=imageio_ffmpeg.get_ffmpeg_exe(), pipe_stdin=True, pipe_stderr=True
    )
    try:
        for picture in pictures:
            process.stdin.write(picture)
    except BrokenPipeError:
        pass  # ffmpeg has stopped and says why below
    finally:
        _, message = process.communicate()
    if process.returncode:
        lines = message.decode(errors="replace").strip().splitlines() or ["it was stopped"]
        reason = re.sub(r"\[.*?\] *", "", lines[-1])
        raise InputError(
            f"ffmpeg could not write the video ({reason})",
            "is there room on the disk, and a smaller --scale?",
        )
