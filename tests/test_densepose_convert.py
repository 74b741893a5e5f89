"""Poses of the reference implementation out and in: `frame_N_densepose.npy`, and dumps."""

from pathlib import Path

import numpy as np
import pytest

from common.frames import FramesInfo, write_frames
from common.poses import FramePose, PosesInfo, read_info, read_poses, write_poses
from common.program import main
from densepose_prep.__main__ import VERBS
from densepose_prep.convert import reference_paths

FIXTURES = Path(__file__).parent / "fixtures/densepose"
DUMP = FIXTURES / "dump.pkl"
SIZE = (120, 160)


def run(verb: str, *arguments: object) -> int:
    return main("densepose_prep", VERBS, [verb, *map(str, arguments)])


@pytest.fixture
def frames(tmp_path):
    write_frames(tmp_path / "frames", np.zeros((2, *SIZE, 3), np.uint8), FramesInfo("12"))
    return tmp_path / "frames"


@pytest.fixture
def reference(tmp_path):
    """Make a folder of the reference's form."""

    def make(*arrays: np.ndarray, start: int = 0) -> Path:
        (tmp_path / "reference").mkdir()
        for index, array in enumerate(arrays):
            np.save(tmp_path / f"reference/frame_{start + index}_densepose.npy", array)
        return tmp_path / "reference"

    return make


def uv(value: float, height: int = 6, width: int = 5) -> np.ndarray:
    canvas = np.zeros((2, height, width))
    canvas[:, 1:4, 2:4] = value
    return canvas


def test_a_dump_becomes_what_the_published_reformatter_makes(frames, tmp_path):
    out = tmp_path / "out"
    assert run("export-poses", "--source", DUMP, "--out", out, "--frames", frames) == 0
    expected = np.load(FIXTURES / "reformatted_person0.npz")
    for index, name in enumerate(("img7", "img8")):
        made = np.load(out / f"frame_{index}_densepose.npy")
        assert made.dtype == np.float64
        np.testing.assert_array_equal(made, expected[name])
    assert len(list(out.iterdir())) == 2


def test_a_dump_becomes_poses(frames, tmp_path):
    out = tmp_path / "poses"
    assert run("import-poses", "--source", DUMP, "--out", out, "--frames", frames) == 0
    info = read_info(out)
    assert (info.chart, info.backend) == ("densepose", "detectron2")
    assert (info.fps, info.size) == ("12", SIZE)
    assert read_poses(out)[..., 0].max() > 2


def test_poses_go_out_and_come_back(tmp_path):
    iuv = np.random.default_rng(0).integers(1, 256, (3, 8, 9, 3), np.uint8)
    iuv[..., 0] = iuv[..., 0] % 24 + 1
    iuv[:, :2] = 0
    iuv[:, 2, :, 0] = 0
    write_poses(tmp_path / "poses", iuv, PosesInfo("densepose", "rcnn", fps="25"))
    assert run("export-poses", "--source", tmp_path / "poses", "--out", tmp_path / "out") == 0
    first = np.load(tmp_path / "out/frame_0_densepose.npy")
    np.testing.assert_array_equal(first[:, 3:], iuv[0, 3:, :, 1:].transpose(2, 0, 1) / 255)
    assert not first[:, :3].any()
    assert run("import-poses", "--source", tmp_path / "out", "--out", tmp_path / "again") == 0
    again = read_poses(tmp_path / "again")
    np.testing.assert_array_equal(again[..., 1:], iuv[..., 1:] * (iuv[..., :1] > 0))
    np.testing.assert_array_equal(again[..., 0] > 0, iuv[..., 0] > 0)


def test_what_comes_in_is_clamped_and_in_order(reference, frames, tmp_path):
    """Eleven files from frame_1 on: not in the order of their names; no part, beyond 0 to 1."""
    source = reference(*(uv(index / 10) for index in range(1, 10)), uv(1.7), uv(-0.2), start=1)
    assert run("import-poses", "--source", source, "--out", tmp_path / "poses") == 0
    poses, info = read_poses(tmp_path / "poses"), read_info(tmp_path / "poses")
    assert poses[:, 2, 2, 1].tolist() == [26, 51, 76, 102, 128, 153, 178, 204, 230, 255, 0]
    assert (poses[:, 2, 2, 0] > 0).all()
    assert not poses[:, 0].any()
    assert (info.chart, info.backend, info.size) == ("densepose", "reference", (6, 5))
    assert info.crop == (1, 0, 5, 5)
    assert info.frames[0] == FramePose((2, 1, 4, 4), 1.0)


def test_the_frames_give_the_rate(reference, frames, tmp_path, capsys):
    given = ("import-poses", "--out", tmp_path / "poses", "--frames", frames, "--source")
    source = reference(uv(0.5, *SIZE), uv(0.5, *SIZE))
    assert run(*given, source) == 0
    assert read_info(tmp_path / "poses").fps == "12"
    (source / "frame_1_densepose.npy").unlink()
    assert run(*given, source) == 2
    assert "has 1 poses of 160×120" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ((), "holds no frame_N_densepose.npy"),
        ((np.zeros((3, 6, 5)),), "holds no U, V"),
        ((uv(np.nan),), "not finite"),
        ((np.array([{}], dtype=object),), "holds no U, V"),
        ((uv(0.5), uv(0.5, 7)), "another size"),
        ((uv(0.0), uv(0.0)), "shows nobody"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(arrays, problem, reference, tmp_path, capsys):
    assert run("import-poses", "--source", reference(*arrays), "--out", tmp_path / "poses") == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "poses").exists()


def test_a_gap_is_named(reference, tmp_path, capsys):
    source = reference(*map(uv, (0.1, 0.2, 0.3)))
    (source / "other.npy").write_bytes(b"")
    assert len(reference_paths(source)) == 3
    (source / "frame_1_densepose.npy").unlink()
    assert run("import-poses", "--source", source, "--out", tmp_path / "poses") == 2
    assert "lacks frame_1_densepose.npy" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["import-poses", "export-poses"])
def test_a_dump_needs_its_frames(verb, tmp_path, capsys):
    assert run(verb, "--source", DUMP, "--out", tmp_path / "out") == 2
    assert "--frames" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
