"""A frames folder to an mp4: the same bytes, the same colours, any size."""

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import chart, chart_error, ffmpeg

from common.errors import InputError
from common.frames import FramesInfo, frame_paths, read_frames, write_frames
from common.images import write_png
from dreampose_core.assemble import assemble
from dreampose_core.extract import extract_frames


@pytest.fixture
def samples(tmp_path):
    """Make a frames folder of some pictures."""

    def make(pictures: np.ndarray, fps: str = "12", name: str = "samples") -> Path:
        write_frames(tmp_path / name, pictures, FramesInfo(fps))
        return tmp_path / name

    return make


def noise(count: int = 6, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)


def test_the_same_input_gives_the_same_bytes(samples, tmp_path, monkeypatch):
    folder = samples(noise())
    assemble(folder, tmp_path / "one.mp4")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.chdir(tmp_path)
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    try:
        assemble(folder.rename(tmp_path / "moved"), Path("two.mp4"))
    finally:
        os.sched_setaffinity(0, affinity)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_the_video_names_its_input_and_arguments_only(samples, tmp_path):
    comments = []
    for name, picture in (("a", noise()), ("b", noise()[::-1])):
        assemble(samples(picture, name=name), tmp_path / f"{name}.mp4", crf=20, scale=2)
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            metadata = dict(container.metadata)
        comments.append(json.loads(metadata.pop("comment")))
        assert set(metadata) <= {"major_brand", "minor_version", "compatible_brands"}
        assert str(tmp_path).encode() not in (tmp_path / f"{name}.mp4").read_bytes()
    assert [(c["crf"], c["scale"]) for c in comments] == [(20, 2)] * 2
    assert comments[0]["input"] != comments[1]["input"]


@pytest.mark.parametrize("scale", [1, 2])
def test_a_colour_chart_survives_the_round_trip(samples, tmp_path, scale):
    folder = samples(np.stack([chart()] * 3), "30000/1001")
    assemble(folder, tmp_path / "chart.mp4", scale=scale)
    info = extract_frames(tmp_path / "chart.mp4", tmp_path / "back")
    assert (info.fps, info.count, info.size) == ("30000/1001", 3, (128 * scale, 192 * scale))
    assert max(chart_error(frame) for frame in read_frames(tmp_path / "back")) < 2
    with av.open(str(tmp_path / "chart.mp4")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "yuv420p"
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (
        1,
        1,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((33, 35), 1, (34, 36)),
        ((33, 36), 1, (34, 36)),
        ((33, 35), 2, (66, 70)),
        ((17, 16), 3, (54, 48)),
    ],
)
def test_odd_sides_repeat_their_edge(samples, tmp_path, size, scale, expected):
    picture = np.full((*size, 3), 200, np.uint8)
    assemble(samples(picture[None]), tmp_path / "odd.mp4", scale=scale)
    info = extract_frames(tmp_path / "odd.mp4", tmp_path / "back")
    assert info.size == expected
    assert abs(read_frames(tmp_path / "back").astype(int) - 200).max() <= 3


def test_one_frame_is_a_video_of_one_second(samples, tmp_path):
    assemble(samples(chart()[None], "1"), tmp_path / "photo.mp4")
    with av.open(str(tmp_path / "photo.mp4")) as container:
        assert container.duration == av.time_base
        assert container.streams.video[0].frames == 1


def test_bad_input_is_refused_and_leaves_the_old_video(samples, tmp_path):
    folder, out = samples(noise()), tmp_path / "out.mp4"
    out.write_bytes(b"old")
    for arguments in ({"crf": -1}, {"crf": 52}, {"scale": 0}, {"scale": 17}):
        with pytest.raises(InputError):
            assemble(folder, out, **arguments)
    with pytest.raises(InputError):
        assemble(tmp_path, out)
    write_png(frame_paths(folder)[2], noise()[0, 1:])
    with pytest.raises(InputError, match="another size"):
        assemble(folder, out)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "samples"]


def test_what_ffmpeg_refuses_is_said_in_one_line(samples, tmp_path):
    folder = samples(np.zeros((1, 16, 2000, 3), np.uint8))
    with pytest.raises(InputError, match="ffmpeg could not") as refusal:
        assemble(folder, tmp_path / "out.mp4", scale=16)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out.mp4").exists()


class TestSound:
    """A clip with a tone that begins after one second; its frames from .9 s on."""

    @pytest.fixture(params=["aac", "pcm_s16le"])
    def clip(self, tmp_path, request) -> Path:
        path = tmp_path / "clip.mov"
        picture = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=3,format=yuv420p")
        tone = ("-f", "lavfi", "-i", "sine=f=440:d=2,adelay=1000")
        ffmpeg(*picture, *tone, "-c:a", request.param, path)
        return path

    def made(self, clip: Path, out: Path) -> Path:
        info = extract_frames(clip, out.parent / "driving", start=0.9, end=2.1)
        assert info.start == pytest.approx(0.9)
        write_frames(out.parent / "made", noise(12), FramesInfo("10"))
        assemble(out.parent / "made", out, driving=out.parent / "driving", audio=clip)
        return out

    def test_it_begins_and_ends_with_the_frames(self, clip, tmp_path):
        with av.open(str(self.made(clip, tmp_path / "o.mp4"))) as container:
            frames = list(container.decode(audio=0))
        rate = frames[0].rate
        wave = np.abs(np.concatenate([f.to_ndarray().mean(0) for f in frames]))
        assert len(wave) / rate == pytest.approx(1.2, abs=0.1)
        loud = np.flatnonzero(wave > wave.max() / 4)[0] / rate
        assert loud == pytest.approx(0.1, abs=0.05)

    def test_the_bytes_are_the_same_each_time(self, clip, tmp_path):
        (tmp_path / "again").mkdir()
        one = self.made(clip, tmp_path / "o.mp4").read_bytes()
        assert self.made(clip, tmp_path / "again/o.mp4").read_bytes() == one

    def test_a_silent_clip_is_refused(self, samples, tmp_path):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", tmp_path / "mute.mp4")
        with pytest.raises(InputError, match="no sound"):
            assemble(samples(noise()), tmp_path / "o.mp4", audio=tmp_path / "mute.mp4")
        assert not (tmp_path / "o.mp4").exists()
