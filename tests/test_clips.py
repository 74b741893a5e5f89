"""Which clips of a folder are for training and which for the test."""

from pathlib import Path

import pytest

from common.datasets import Failure
from common.errors import InputError
from tasks.clips import find


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "b+1.MP4", "c d.mov", "e.mp4", "notes.md", ".hidden.mp4"):
        (tmp_path / name).touch()
    return tmp_path


def parts(folder: Path) -> dict[str, list[str]]:
    listed, _ = find(folder)
    return {part: [c.name for c in listed if c.part == part] for part in ("train", "test")}


def test_without_lists_all_are_for_training(folder):
    assert parts(folder) == {"train": ["a.mp4", "b+1.MP4", "c d.mov", "e.mp4"], "test": []}


def test_lists_of_names_and_addresses(folder):
    (folder / "fashion_train.txt").write_text(
        "https://example.org/x/b%2B1.MP4?dl=1\n\n# a remark\nc d.mov\nc d.mov\n"
    )
    (folder / "fashion_test.txt").write_text("videos/a\n")
    assert parts(folder) == {"train": ["b+1.MP4", "c d.mov"], "test": ["a.mp4"]}


def test_tables_with_a_heading(folder):
    (folder / "train.csv").write_text('﻿id,file,size\n1,"a.mp4",9\n2,e,9\n')
    (folder / "my-test-list.txt").write_text("b+1.MP4\tfront\n")
    assert parts(folder) == {"train": ["a.mp4", "e.mp4"], "test": ["b+1.MP4"]}


def test_sub_folders(tmp_path):
    for name in ("Train/a.mp4", "train/deep/b.mp4", "test/a2.mp4", "other/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert parts(tmp_path) == {
        "train": ["Train/a.mp4", "train/deep/b.mp4"],
        "test": ["test/a2.mp4"],
    }
    (tmp_path / "train.txt").write_text("c.mp4\n")
    assert parts(tmp_path) == {"train": ["other/c.mp4"], "test": []}


def test_listed_clips_that_are_not_there_are_told(folder):
    (folder / "train.txt").write_text("a.mp4\nhttp://example.org/gone.mp4\nlost\n")
    listed, missing = find(folder)
    assert [clip.name for clip in listed] == ["a.mp4"]
    why = "train.txt names it, but it is not in the folder"
    assert missing == [Failure("gone.mp4", why), Failure("lost", why)]


@pytest.mark.parametrize(
    ("lists", "what"),
    [
        ({"train.txt": "a.mp4\n", "test.txt": "e\na\n"}, "a.mp4 is for training and test"),
        ({"train.txt": "gone.mp4\n"}, "no clip in .* that its lists name"),
    ],
)
def test_lists_that_cannot_be_used(folder, lists, what):
    for name, text in lists.items():
        (folder / name).write_text(text)
    with pytest.raises(InputError, match=what):
        find(folder)


def test_no_folder_no_clip_no_text(folder, tmp_path_factory):
    with pytest.raises(InputError, match="not a folder"):
        find(folder / "a.mp4")
    with pytest.raises(InputError, match="no clip"):
        find(tmp_path_factory.mktemp("empty"))
    (folder / "train.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match="is no text"):
        find(folder)
