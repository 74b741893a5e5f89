"""What `animate` is given that cannot be used: one line, exit code 2, nothing left behind."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_samples import ffmpeg, noise_clip

from flows import cli
from tasks import catalog, workspace

CLIP, PHOTO = "clip.mp4", "photo.png"


def picture(height: int, width: int) -> bytes:
    return cv2.imencode(".png", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def folder_of(count: int, name: str = "{}.png", content: bytes = b"") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        for index in range(count):
            (path / name.format(index)).write_bytes(content or picture(32, 32))

    return make


def sound_only(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-f", "mp4", path)


BAD: dict[str, bytes | Callable[[Path], None]] = {
    "missing.png": lambda path: None,
    "empty.png": b"",
    "empty.mp4": b"",
    "text.mp4": b"this is no clip\n" * 50,
    "text.png": b"this is no photo\n" * 50,
    "noise.mp4": np.random.default_rng(0).bytes(3000),
    "zeros.mov": bytes(3000),
    "cut.png": picture(300, 300)[:-40],
    "huge.png": picture(1, 1)[:16] + b"\0\1\0\0" * 2 + picture(1, 1)[24:],
    "dot.png": picture(1, 1),
    "strip.png": picture(16, 9000),
    "sound.mp4": sound_only,
    "iphone.heic": b"\0\0\0\x18ftypheic" + bytes(200),
    "playlist.m3u8": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "list.ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "dangling.mp4": lambda path: path.symlink_to("nowhere"),
    "pipe.mp4": os.mkfifo,
    "no photos": folder_of(0),
    "101 photos": folder_of(101),
    "a text among photos": folder_of(2, "{}.txt", b"this is no photo\n" * 50),
    "n" * 300 + ".png": lambda path: None,
}
OPTIONS = [
    ("--steps", "0"),
    ("--steps", "100000"),
    ("--s1", "nan"),
    ("--s2", "-1"),
    ("--seed", "-1"),
    ("--fps", "-3"),
    ("--fps", "inf"),
    ("--start", "-1"),
    ("--start", "900"),
    ("--start", "2", "--end", "1"),
    ("--max-frames", "-4"),
    ("--truth", "missing.mp4"),
    ("--truth", PHOTO + "/x"),
    ("--sheet", "sheet.pdf"),
    ("--sheet", "folder.png"),
    ("--workspace", "no workspace"),
]
OUTS = ["o.avi", "o", "folder.mp4", PHOTO + "/o.mp4", "/proc/o.mp4", "o" * 300 + ".mp4"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return noise_clip(tmp_path_factory.mktemp("clips") / CLIP)


@pytest.fixture
def here(toy, clip):
    folder = toy("stages: {}\n", {})
    (folder / "data").mkdir()
    (folder / "presets").symlink_to(workspace.HOME / "presets")
    shutil.copyfile(workspace.preset_path("mini"), "params.yaml")
    catalog.CATALOG.write_text(catalog.text(catalog.Catalog()))
    shutil.copyfile(clip, CLIP)
    Path(PHOTO).write_bytes(picture(64, 48))
    for name in ("folder.mp4", "folder.png", "no workspace"):
        Path(name).mkdir()
    return folder


def place(name: str) -> None:
    content = BAD[name]
    if callable(content):
        content(Path(name))
    else:
        Path(name).write_bytes(content)


def refused(monkeypatch, capfd, *arguments: str) -> str:
    """Run `animate`; it has to refuse in one line and to leave everything as it was."""

    def names() -> list[str]:
        return sorted(os.path.join(*found) for found in _walk(Path.cwd()))

    before, here = names(), Path.cwd()
    monkeypatch.setattr("sys.argv", ["dreampose", "animate", *arguments])
    assert cli.main() == 2
    assert Path.cwd() == here
    (line,) = capfd.readouterr().err.splitlines()
    problem, _, remedy = line.partition(" — ")
    assert problem.startswith("error: ")
    assert remedy
    assert names() == before
    assert catalog.load() == catalog.Catalog()
    return line


def _walk(root: Path):
    for folder, folders, files in os.walk(root):
        yield from ((folder, name) for name in (*folders, *files))


@pytest.mark.parametrize("name", BAD)
def test_the_subject_is_bad(here, monkeypatch, capfd, name):
    place(name)
    refused(monkeypatch, capfd, name, CLIP, "-o", "o.mp4")


@pytest.mark.parametrize("name", BAD)
def test_the_clip_is_bad(here, monkeypatch, capfd, name):
    place(name)
    refused(monkeypatch, capfd, PHOTO, name, "-o", "o.mp4")


def test_both_are_bad(here, monkeypatch, capfd):
    for name in ("text.png", "text.mp4"):
        place(name)
    assert "text.png" in refused(monkeypatch, capfd, "text.png", "text.mp4", "-o", "new/o.mp4")


def test_a_folder_is_no_clip(here, monkeypatch, capfd):
    folder_of(2)(Path("photos"))
    assert "one clip" in refused(monkeypatch, capfd, PHOTO, "photos", "-o", "o.mp4")


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_an_option_is_bad(here, monkeypatch, capfd, options):
    refused(monkeypatch, capfd, PHOTO, CLIP, "-o", "o.mp4", *options)


@pytest.mark.parametrize("out", OUTS)
def test_the_output_cannot_be_written(here, monkeypatch, capfd, out):
    refused(monkeypatch, capfd, PHOTO, CLIP, "-o", out)


@pytest.mark.parametrize(
    "options", [("--steps", "many"), ("--s3", "1"), ("--steps", "$(id)"), ("--seed", "1.5")]
)
def test_words_that_are_no_options_are_refused_with_the_usage(here, monkeypatch, capfd, options):
    monkeypatch.setattr("sys.argv", ["dreampose", "animate", PHOTO, CLIP, "-o", "o.mp4", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert options[0] in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "name", ["a space.png", "quo'te\".png", "semi;colon.png", "-dash.png", "ä-人.png", "$(id).png"]
)
def test_odd_names_are_no_reason_to_refuse(here, monkeypatch, capfd, name):
    """The good photo passes under any name: what is refused is the clip behind it."""
    Path(name).write_bytes(picture(64, 48))
    place("text.mp4")
    given = ("--", name, "text.mp4") if name.startswith("-") else (name, "text.mp4")
    assert "text.mp4" in refused(monkeypatch, capfd, "-o", "o.mp4", *given)
