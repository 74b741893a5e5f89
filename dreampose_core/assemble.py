"""A frames folder to an mp4 whose only metadata is the input's hash and the arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import ffmpeg
import numpy as np

from common.errors import InputError
from common.files import file_hash, folder_hash, publish
from common.frames import frame_paths, read_info
from common.images import read_png
from common.progress import track
from common.video import Sound, write_video

_KEPT_CODECS = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")


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
    comment = {"input": folder_hash(samples), "crf": crf, "scale": scale}
    sound = None
    if audio:
        start = read_info(driving).start if driving else 0.0
        sound = _sound(audio, start, float(len(paths) / info.rate))
        comment["audio"] = file_hash(audio)

    def pictures() -> Iterator[np.ndarray]:
        for path in track(paths, "assemble"):
            picture = read_png(path)
            if picture.shape[:2] != info.size:
                raise InputError(f"{path} has another size than frames.json", "make them again")
            yield picture

    with publish(out) as partial:
        write_video(
            partial,
            pictures(),
            info.size,
            info.fps,
            json.dumps(comment),
            crf=crf,
            scale=scale,
            sound=sound,
        )


def _sound(clip: Path, start: float, seconds: float) -> Sound:
    """A clip's sound from second `start` on, and how it goes into an mp4: as it is if it can."""
    with av.open(str(clip)) as container:
        codecs = [stream.codec_context.name for stream in container.streams.audio]
    if not codecs:
        raise InputError("the clip has no sound", "leave out --audio")
    stream = ffmpeg.input(str(clip.absolute()), ss=start, t=seconds).audio
    kept = codecs[0] in _KEPT_CODECS
    return stream, {"acodec": "copy"} if kept else {"acodec": "aac", "audio_bitrate": "192k"}
