"""Any photo or clip to a frames folder: what comes out, and what is refused."""

import io
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_samples import PATCHES, chart, chart_error, encode, ffmpeg, numbered, patches, quarters
from PIL import Image, ImageCms

from common.errors import InputError
from common.frames import read_frames
from dreampose_core.extract import between, extract_frames, resampled
from dreampose_core.footage import open_footage

LOSSLESS = ("-c:v", "ffv1")
H264 = ("-c:v", "libx264", "-crf", 8)
VP9 = ("-c:v", "libvpx-vp9", "-crf", 4, "-b:v", 0)
REDDISH = np.array([250, 5, 5])


@pytest.fixture
def extract(tmp_path):
    """Extract into a fresh folder; returns (info, frames)."""

    def run(path: Path, **arguments):
        info = extract_frames(path, tmp_path / "frames", **arguments)
        frames = read_frames(tmp_path / "frames")
        assert frames.shape == (info.count, *info.size, 3)
        return info, frames

    return run


def levels(frames: np.ndarray) -> list[int]:
    """The indices that `numbered` frames tell."""
    return [round(level / 10) for level in frames.mean((1, 2, 3))]


def corners(image: np.ndarray) -> list[str]:
    """Names of the four quarters' colours, clockwise from the top left."""
    height, width = image.shape[:2]
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    at = [(1, 1), (1, 3), (3, 3), (3, 1)]
    return [names[tuple(image[height * y // 4, width * x // 4] // 128)] for y, x in at]


@pytest.mark.parametrize(
    ("name", "conversion", "codec"),
    [
        ("bt709.mp4", "out_color_matrix=bt709,format=yuv420p", H264),
        ("bt601.mp4", "out_color_matrix=bt601,format=yuv420p", H264),
        ("full.mp4", "out_color_matrix=bt709:out_range=pc,format=yuv420p", H264),
        ("ten.mp4", "out_color_matrix=bt709,format=yuv420p10", H264),
        ("bt2020.mkv", "out_color_matrix=bt2020,format=yuv444p10", LOSSLESS),
        ("vp9.webm", "out_color_matrix=bt709,format=yuv420p", VP9),
        ("motion.avi", "out_range=pc,format=yuvj444p", ("-c:v", "mjpeg", "-q:v", 1)),
        ("rgb.mkv", "out_range=pc,format=bgr0", LOSSLESS),
    ],
)
def test_colours_survive_as_declared(tmp_path, extract, name, conversion, codec):
    scale = f"scale=flags=accurate_rnd+full_chroma_int:{conversion}"
    clip = encode(tmp_path / name, np.stack([chart()] * 2), "-vf", scale, *codec)
    _, frames = extract(clip)
    assert chart_error(frames[0]) < 2


@pytest.mark.parametrize(("height", "width", "matrix"), [(128, 192, "bt601"), (720, 1200, "bt709")])
def test_undeclared_colours_are_guessed_by_size(tmp_path, extract, height, width, matrix):
    untagged = "setparams=colorspace=unknown:range=unknown"
    conversion = (
        f"scale=flags=accurate_rnd:out_color_matrix={matrix}:out_range=tv,format=yuv444p,{untagged}"
    )
    image = chart(height, width)[None]
    clip = encode(tmp_path / "untagged.avi", image, "-vf", conversion, "-c:v", "ffvhuff")
    with av.open(str(clip)) as container:
        assert next(container.decode(video=0)).colorspace == 2
    _, frames = extract(clip)
    assert chart_error(frames[0]) < 2


def test_hdr_is_tone_mapped_and_said_so(tmp_path, extract):
    linear = np.where(chart() > 10, ((chart() / 255 + 0.055) / 1.055) ** 2.4, chart() / 255 / 12.92)
    to_2020 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    power = (linear @ np.transpose(to_2020) * 203 / 10000) ** 0.1593017578125
    signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    tags = "setparams=color_trc=smpte2084:color_primaries=bt2020"
    clip = encode(
        tmp_path / "hdr.mkv",
        (signal[None] * 65535).round().astype("<u2"),
        *(
            "-vf",
            f"scale=flags=accurate_rnd:out_color_matrix=bt2020:out_range=tv,format=yuv444p10,{tags}",
        ),
        *LOSSLESS,
        pixels="rgb48le",
    )
    info, frames = extract(clip)
    assert info.tone_mapped
    assert abs(patches(frames[0])[3] - PATCHES[3]).max() < 6
    assert chart_error(frames[0]) < 12


@pytest.mark.parametrize(
    ("turn", "rotation", "expected"),
    [
        (90, 270, ["green", "blue", "white", "red"]),
        (180, 180, ["blue", "white", "red", "green"]),
        (-90, 90, ["white", "red", "green", "blue"]),
    ],
)
def test_clips_are_turned_upright(tmp_path, extract, turn, rotation, expected):
    flat = encode(tmp_path / "flat.mp4", quarters()[None], *H264)
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", turn, "-i", flat, "-c", "copy", turned)
    info, frames = extract(turned)
    assert info.rotation == rotation
    assert info.size == ((64, 96) if turn == 180 else (96, 64))
    assert corners(frames[0]) == expected


def test_mirrored_clips_are_mirrored_back(tmp_path, extract):
    flat = encode(tmp_path / "flat.mp4", quarters()[None], *H264)
    mirrored = tmp_path / "mirrored.mp4"
    ffmpeg("-display_hflip", "-i", flat, "-c", "copy", mirrored)
    _, frames = extract(mirrored)
    assert corners(frames[0]) == ["green", "red", "white", "blue"]


def test_odd_sizes_and_wide_pixels(tmp_path, extract):
    odd = encode(tmp_path / "odd.mkv", numbered(2, 33, 35), "-pix_fmt", "yuv444p", *LOSSLESS)
    assert extract(odd)[0].size == (33, 35)
    wide = encode(tmp_path / "wide.mp4", numbered(2, 64, 64), "-vf", "setsar=3/2", *H264)
    assert extract(wide)[0].size == (64, 96)


def test_longer_side_is_capped_by_area(tmp_path, extract):
    checks = (np.indices((64, 96)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "checks.png")
    info, frames = extract(tmp_path / "checks.png", max_side=48)
    assert info.size == (32, 48)
    assert abs(frames.astype(int) - 128).max() <= 1


@pytest.mark.parametrize("rate", ["25", "30000/1001", "12"])
def test_source_rate_is_a_fraction(tmp_path, extract, rate):
    clip = encode(tmp_path / "clip.mkv", numbered(8), *H264, rate=rate)
    info, frames = extract(clip)
    assert (Fraction(info.fps), info.timestamps) == (Fraction(rate), None)
    assert levels(frames) == list(range(8))


def test_first_frames_between_start_and_end(tmp_path, extract):
    clip = encode(tmp_path / "clip.mp4", numbered(20), *H264, rate=10)
    assert levels(extract(clip, start=0.3, end=0.7)[1]) == [3, 4, 5, 6]
    assert levels(extract(clip, start=0.3, max_frames=2)[1]) == [3, 4]
    assert levels(extract(clip, fps=5)[1]) == list(range(0, 20, 2))
    doubled = extract(clip, fps=20, end=0.3)
    assert doubled[0].fps == "20"
    assert levels(doubled[1]) == [0, 0, 1, 1, 2, 2]


def test_varying_rate_is_noted_and_can_be_evened(tmp_path, extract):
    clip = encode(
        tmp_path / "varying.mkv",
        numbered(10),
        *(
            "-vf",
            "settb=1/1000,setpts=if(lt(N\\,5)\\,100*N\\,500+200*(N-5))",
            "-fps_mode",
            "passthrough",
        ),
        *LOSSLESS,
        rate=10,
    )
    info, frames = extract(clip)
    assert info.timestamps == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.1, 1.3], abs=2e-3
    )
    assert float(info.rate) == pytest.approx(9 / 1.3, rel=1e-2)
    assert levels(frames) == list(range(10))
    info, frames = extract(clip, fps=10)
    assert (info.fps, info.timestamps) == ("10", None)
    assert levels(frames)[:6] == [0, 1, 2, 3, 4, 5]
    assert levels(frames)[7::2] == [6, 7, 8, 9][: len(frames[7::2])]


@given(
    st.lists(st.fractions(Fraction(1, 100), 1, max_denominator=100), min_size=1, max_size=20),
    st.fractions(1, 60, max_denominator=2),
)
def test_resampling_takes_the_nearest_frame(gaps, rate):
    times = [sum(gaps[:i], Fraction(0)) for i in range(len(gaps))]
    grid = list(resampled(zip(times, times, strict=True), rate, gaps[-1]))
    assert [time for time, _ in grid] == [n / rate for n in range(len(grid))]
    for time, taken in grid:
        assert abs(taken - time) == min(abs(other - time) for other in times)
    assert times[-1] + gaps[-1] - 1 / rate <= grid[-1][0] < times[-1] + gaps[-1]


def test_frames_stream(tmp_path):
    """Nothing is decoded beyond what is asked for."""
    seen = []
    endless = ((Fraction(n), seen.append(n)) for n in range(10**9))
    assert len(list(between(endless, 0, 3))) == 3
    assert seen == [0, 1, 2, 3]


def test_memory_does_not_grow_with_the_clip(tmp_path):
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    clip = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x480:d=12", "-preset", "ultrafast", clip)
    with open_footage(clip) as footage:
        for index, (_, frame) in enumerate(footage.frames()):
            footage.picture(frame)
            if index == 30:
                before = resident()
    assert index == 299
    assert resident() - before < 30 * 2**20


def test_audio_is_noted(tmp_path, extract):
    clip = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", "-f", "lavfi", "-i", "sine=d=0.2", clip)
    assert extract(clip)[0].audio


def test_a_cover_picture_is_no_clip(tmp_path):
    Image.fromarray(chart()).save(tmp_path / "cover.png")
    song = tmp_path / "song.mp3"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-i", tmp_path / "cover.png", "-map", 0, "-map", 1,
           "-disposition:v", "attached_pic", song)  # fmt: skip
    with pytest.raises(InputError, match="no pictures"):
        extract_frames(song, tmp_path / "out")


def test_animations_are_clips(tmp_path, extract):
    pictures = [Image.fromarray(frame) for frame in numbered(4)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    info, frames = extract(tmp_path / "a.gif")
    assert (info.fps, levels(frames)) == ("10", [0, 1, 2, 3])
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=100)
    assert levels(extract(tmp_path / "a.png")[1]) == [0, 1, 2, 3]


def test_greyscale_clip(tmp_path, extract):
    clip = encode(tmp_path / "grey.mkv", numbered(4), "-pix_fmt", "gray", *LOSSLESS)
    assert levels(extract(clip)[1]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.mkv", ("-pix_fmt", "bgra", *LOSSLESS)),
        ("a.mov", ("-c:v", "qtrle")),
        ("a.webm", ("-pix_fmt", "yuva420p", *VP9)),
    ],
)
def test_transparent_clips_lie_on_white(tmp_path, extract, name, arguments):
    rgba = np.zeros((2, 64, 64, 4), np.uint8)
    rgba[:, :, :32] = 250, 5, 5, 255
    clip = encode(tmp_path / name, rgba, *arguments, pixels="rgba")
    _, frames = extract(clip)
    assert abs(frames[0, 32, 8].astype(int) - REDDISH).max() < 12
    assert frames[0, 32, 56].min() > 247


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(tmp_path, extract, orientation):
    transpose = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
                 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
                 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
                 8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = Image.fromarray(quarters())
    if orientation in transpose:
        stored = stored.transpose(transpose[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    info, frames = extract(tmp_path / "photo.jpg")
    assert (info.count, info.size) == (1, (64, 96))
    assert info.rotation == {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}.get(orientation, 0)
    assert corners(frames[0]) == ["red", "green", "blue", "white"]


def photo_modes() -> dict[str, Image.Image]:
    """The same grey-to-white picture in the ways photos store it."""
    ramp = np.repeat(np.linspace(0, 255, 64).round().astype(np.uint8)[None], 48, axis=0)
    grey, inverse = Image.fromarray(ramp), Image.fromarray(255 - ramp)
    return {
        "L": grey,
        "I;16": Image.fromarray(ramp.astype(np.uint16) * 257),
        "RGB": grey.convert("RGB"),
        "P": grey.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
        "LA": Image.merge("LA", [Image.new("L", grey.size), inverse]),
        "RGBA": Image.merge("RGBA", [Image.new("L", grey.size)] * 3 + [inverse]),
    }


@pytest.mark.parametrize("mode", photo_modes())
def test_photo_modes(tmp_path, extract, mode):
    photo_modes()[mode].save(tmp_path / "photo.png")
    _, frames = extract(tmp_path / "photo.png")
    assert abs(frames[0, 20, :, 1] - np.linspace(0, 255, 64)).max() <= 1


class TestAlbum:
    """A folder of photos: in the order of their names, at the size of the first."""

    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "photos"
        folder.mkdir()
        for name, size, level in (("b.png", (40, 80), 200), ("a.jpg", (64, 48), 100)):
            Image.new("RGB", size, (level,) * 3).save(folder / name)
        (folder / ".DS_Store").write_text("hidden")
        return folder

    def test_photos_become_frames(self, folder, extract):
        info, frames = extract(folder)
        assert (info.count, info.size, info.fps) == (2, (48, 64), "1")
        assert levels(frames) == [10, 20]

    def test_only_so_many(self, folder, extract):
        assert extract(folder, max_frames=1)[0].count == 1

    def test_a_film_among_them_is_refused(self, folder, tmp_path):
        encode(folder / "c.mkv", numbered(3), *LOSSLESS)
        with pytest.raises(InputError, match=r"c\.mkv is no photo"):
            extract_frames(folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_tiny_one_is_refused(self, folder, tmp_path):
        Image.new("RGB", (4, 4)).save(folder / "c.png")
        with pytest.raises(InputError, match="4×4"):
            extract_frames(folder, tmp_path / "out")


def test_sixteen_bit_colour_and_cmyk(tmp_path, extract):
    raw = chart()[None].astype("<u2") * 257
    encode(tmp_path / "deep.png", raw, "-pix_fmt", "rgb48be", pixels="rgb48le")
    assert chart_error(extract(tmp_path / "deep.png")[1][0]) < 1
    Image.fromarray(chart()).convert("CMYK").save(tmp_path / "print.tiff")
    assert chart_error(extract(tmp_path / "print.tiff")[1][0]) < 2


def test_photo_profile_is_applied(tmp_path, extract):
    image = Image.fromarray(chart())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "same.png", icc_profile=profile)
    assert chart_error(extract(tmp_path / "same.png")[1][0]) < 1
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image.save(tmp_path / "wrong.png", icc_profile=lab)
    assert chart_error(extract(tmp_path / "wrong.png")[1][0]) < 1


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def cut_clip(folder: Path) -> bytes:
    source = ("-f", "lavfi", "-i", "testsrc2=s=64x64:d=2,format=yuv420p")
    ffmpeg(*source, *H264, "-movflags", "+faststart", folder / "whole.mp4")
    return (folder / "whole.mp4").read_bytes()


BAD_FILES = {
    "empty.mp4": lambda folder: b"",
    "empty.png": lambda folder: b"",
    "text.mp4": lambda folder: b"this is no clip\n" * 100,
    "text.txt": lambda folder: b"this is no clip\n" * 100,
    "noise.mp4": lambda folder: np.random.default_rng(0).bytes(5000),
    "zeros.mov": lambda folder: bytes(5000),
    "list.m3u8": lambda folder: b"#EXTM3U\n#EXTINF:1,\nmissing.ts\n#EXT-X-ENDLIST\n",
    "script.ffconcat": lambda folder: b"ffconcat version 1.0\nfile missing.mp4\n",
    "words.srt": lambda folder: b"1\n00:00:00,000 --> 00:00:01,000\nhello\n",
    "iphone.heic": lambda folder: b"\0\0\0\x18ftypheic" + bytes(200),
    "dot.png": lambda folder: png(1, 1),
    "strip.png": lambda folder: png(9000, 16),
    "pole.png": lambda folder: png(16, 9000),
    "huge.png": lambda folder: png(1, 1)[:16] + b"\0\1\0\0" * 2 + png(1, 1)[24:],
    "cut.png": lambda folder: png(300, 300)[:-40],
    "half.mp4": lambda folder: cut_clip(folder)[: len(cut_clip(folder)) // 2],
    "head.mp4": lambda folder: cut_clip(folder)[:600],
    "tail.mp4": lambda folder: cut_clip(folder)[2000:],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD_FILES[name](tmp_path))
    with pytest.raises(InputError) as refusal:
        extract_frames(path, tmp_path / "out")
    assert refusal.value.remedy
    assert "\n" not in str(refusal.value)
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def test_zero_frames_are_refused(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=1", "-frames:v", 0, tmp_path / "none.mkv")
    with pytest.raises(InputError):
        extract_frames(tmp_path / "none.mkv", tmp_path / "out")


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "nothing.mp4", tmp_path, Path("/dev/null")):
        with pytest.raises(InputError):
            extract_frames(path, tmp_path / "out")


@pytest.mark.parametrize(
    "arguments",
    [
        {"fps": -1.0},
        {"fps": float("nan")},
        {"fps": float("inf")},
        {"start": -1.0},
        {"start": float("nan")},
        {"end": float("inf")},
        {"start": 2.0, "end": 1.0},
        {"start": 60.0},
        {"max_frames": -1},
        {"max_side": 0},
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments):
    clip = encode(tmp_path / "clip.mkv", numbered(4), *LOSSLESS)
    with pytest.raises(InputError):
        extract_frames(clip, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_the_part_before_the_damage_can_be_kept(tmp_path, extract):
    whole = cut_clip(tmp_path)
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    assert extract(tmp_path / "half.mp4", end=0.2)[0].count == 5


def test_a_refused_input_leaves_the_old_frames(tmp_path, extract):
    clip = encode(tmp_path / "clip.mkv", numbered(4), *LOSSLESS)
    extract(clip)
    with pytest.raises(InputError):
        extract(clip, start=60.0)
    assert levels(read_frames(tmp_path / "frames")) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "name", ["a space.mkv", "quo'te\".mkv", "semi;colon.mkv", "-dash.mkv", "ä-人.mkv", "100%d.mkv"]
)
def test_odd_names_are_read(tmp_path, extract, name, monkeypatch):
    made = encode(tmp_path / "clip.mkv", numbered(3), *LOSSLESS)
    made.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert extract(Path(name))[0].count == 3
