"""A frames folder to an H.264 mp4 that has the same bytes on every machine.

Always imageio-ffmpeg's own binary, one thread, bit-exact; the only metadata is a comment with
the input's hash and the arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np

from common.errors import InputError
from common.files import file_hash, folder_hash, publish
from common.frames import frame_paths, read_info
from common.images import read_png
from common.progress import track

_SCALING = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_KEPT_CODECS = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")
Sound = tuple[ffmpeg.Stream, dict[str, str]]
_BT709 = {"range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}


def assemble(
    samples: Path,
    out: Path,
    crf: int = 16,
    scale: int = 1,
    driving: Path | None = None,
    audio: Path | None = None,
) -> None:
    """Write the mp4 `out` from the frames folder `samples`.

    `audio` is the clip whose sound is laid under it, `driving` the frames folder that was cut
    from that clip: the sound begins and ends with those frames.

    `crf` is x264's quality, 0 (lossless) to 51; `scale` enlarges so many times (Lanczos). An odd
    side gets its last row or column once more, because 4:2:0 video has even sides. Raises
    InputError where `samples` is no frames folder or an argument is out of range.
    """
    if not 0 <= crf <= 51:
        raise InputError(f"--crf {crf} is out of range", "give 0 (best) to 51")
    if not 1 <= scale <= 16:
        raise InputError(f"--scale {scale} is out of range", "give 1 to 16")
    info, paths = read_info(samples), frame_paths(samples)
    odd = [(0, side * scale % 2) for side in info.size]
    height, width = (side + pad for side, (_, pad) in zip(info.size, odd, strict=True))
    comment = {"input": folder_hash(samples), "crf": crf, "scale": scale}
    sound = None
    if audio:
        start = read_info(driving).start if driving else 0.0
        sound = _sound(audio, start, float(len(paths) / info.rate))
        comment["audio"] = file_hash(audio)

    def pictures() -> Iterator[bytes]:
        for path in track(paths, "assemble"):
            picture = read_png(path)
            if picture.shape[:2] != info.size:
                raise InputError(f"{path} has another size than frames.json", "make them again")
            yield np.pad(picture, [*odd, (0, 0)], mode="edge").tobytes()

    with publish(out) as partial:
        video = ffmpeg.input(
            "pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=info.fps
        ).filter(
            "scale",
            width * scale,
            height * scale,
            flags=_SCALING,
            out_color_matrix="bt709",
            out_range="tv",
        )
        video = video.filter("format", "yuv420p").filter("setparams", **_BT709)
        _encode(video, sound, partial, pictures(), crf, json.dumps(comment))


def _sound(clip: Path, start: float, seconds: float) -> Sound:
    """A clip's sound from second `start` on, and how it goes into an mp4: as it is if it can."""
    with av.open(str(clip)) as container:
        codecs = [stream.codec_context.name for stream in container.streams.audio]
    if not codecs:
        raise InputError("the clip has no sound", "leave out --audio")
    stream = ffmpeg.input(str(clip.absolute()), ss=start, t=seconds).audio
    kept = codecs[0] in _KEPT_CODECS
    return stream, {"acodec": "copy"} if kept else {"acodec": "aac", "audio_bitrate": "192k"}


def _encode(
    video: ffmpeg.Stream,
    sound: Sound | None,
    out: Path,
    pictures: Iterator[bytes],
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
