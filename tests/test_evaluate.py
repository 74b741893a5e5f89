"""The report of a render: true figures, no invented ones, a sheet that shows what is what."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import InputError
from common.files import folder_hash
from common.frames import FramesInfo, write_frames
from common.images import read_png
from common.poses import PosesInfo, write_poses
from dreampose_core import metrics
from dreampose_core.evaluate import evaluate

COUNT, HEIGHT, WIDTH = 5, 40, 32


def person(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Bool (H, W): a box that moves to the right."""
    mask = np.zeros((height, width), bool)
    mask[height // 4 : -height // 8, width // 4 + 2 * index : width // 2 + 2 * index] = True
    return mask


def clip(level: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Frames of a person of the grey `level` before a red wall."""
    frames = np.full((COUNT, height, width, 3), (180, 40, 40), np.uint8)
    for index in range(COUNT):
        frames[index, person(index, height, width)] = level
    return frames


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    """The folders of a render whose result is 20 levels off inside the person."""
    iuv = np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    for index in range(COUNT):
        iuv[index, person(index)] = 2, 100, 200
    write_frames(tmp_path / "samples", clip(120), FramesInfo("12"))
    write_frames(tmp_path / "subject", clip(100, 90, 60)[:1], FramesInfo("1"))
    write_frames(tmp_path / "driving", clip(30, 60, 100), FramesInfo("12"))
    write_frames(tmp_path / "truth", clip(100), FramesInfo("12"))
    write_poses(tmp_path / "poses", iuv, PosesInfo("mannequin", "exact", crop=(8, 8, 32, 40)))
    return {name: tmp_path / name for name in ("samples", "subject", "driving", "poses", "truth")}


def without(folders: dict[str, Path], *names: str) -> dict[str, Path]:
    return {name: path for name, path in folders.items() if name not in names}


def test_figures_against_the_truth(folders, tmp_path):
    report = evaluate(**folders, out=tmp_path / "report")
    assert json.loads((tmp_path / "report" / "metrics.json").read_text()) == report
    assert (report["frames"], report["size"]) == (COUNT, [HEIGHT, WIDTH])
    assert report["flicker"] == 0
    truth, share = report["truth"], person(0).mean()
    assert not truth["resized"]
    assert truth["l1"] == pytest.approx(20 / 255 * share, abs=1e-4)
    assert truth["psnr"] == pytest.approx(-10 * np.log10((20 / 255) ** 2 * share), abs=1e-3)
    assert truth["ssim"] == pytest.approx(metrics.ssim(clip(120), clip(100)), abs=1e-4)
    assert -20 * np.log10(20 / 255) < truth["person_psnr"] < truth["psnr"]
    assert truth["person_ssim"] < truth["ssim"]
    assert [row["frame"] for row in report["per_frame"]] == list(range(COUNT))
    assert np.mean([row["psnr"] for row in report["per_frame"]]) == pytest.approx(
        truth["psnr"], abs=1e-4
    )


def test_nothing_is_made_up_without_truth(folders, tmp_path):
    report = evaluate(**without(folders, "truth"), out=tmp_path / "report")
    assert report["truth"] is None
    assert report["per_frame"] == []
    assert report["flicker"] == 0


def test_one_frame_has_no_flicker_to_measure(folders, tmp_path):
    for name in ("samples", "driving", "truth"):
        write_frames(tmp_path / "one" / name, clip(100)[:1], FramesInfo("1"))
    iuv = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    write_poses(tmp_path / "one" / "poses", iuv, PosesInfo("mannequin", "exact"))
    one = {name: tmp_path / "one" / name for name in ("samples", "driving", "truth", "poses")}
    report = evaluate(**one, subject=folders["subject"], out=tmp_path / "report")
    assert report["flicker"] is None
    assert report["truth"]["psnr"] == metrics.MAX_PSNR
    assert report["truth"]["person_psnr"] is None


def test_brightness_that_jumps_is_flicker(folders, tmp_path):
    frames = clip(120)
    frames[1::2] += 10
    write_frames(tmp_path / "samples", frames, FramesInfo("12"))
    report = evaluate(**without(folders, "truth"), out=tmp_path / "report")
    assert report["flicker"] == pytest.approx(10 / 255, abs=1e-3)


def test_truth_of_another_size_is_resized_and_said_so(folders, tmp_path):
    large = np.stack(
        [cv2.resize(f, (WIDTH * 2, HEIGHT * 2), interpolation=cv2.INTER_NEAREST) for f in clip(120)]
    )
    write_frames(tmp_path / "truth", large, FramesInfo("12"))
    report = evaluate(**folders, out=tmp_path / "report")
    assert report["truth"]["resized"]
    assert report["truth"]["size"] == [HEIGHT * 2, WIDTH * 2]
    assert report["truth"]["psnr"] == metrics.MAX_PSNR


def test_the_report_has_the_same_bytes_every_time(folders, tmp_path):
    for out in ("one", "two"):
        evaluate(**folders, out=tmp_path / out)
    assert folder_hash(tmp_path / "one") == folder_hash(tmp_path / "two")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["contact.png", "metrics.json"]


def share(picture: np.ndarray, *colour: int) -> float:
    """How much of a picture has exactly this colour."""
    return (picture == colour).all(-1).mean()


def test_the_sheet_shows_every_row(folders, tmp_path):
    evaluate(**folders, out=tmp_path / "report", columns=3)
    sheet = read_png(tmp_path / "report" / "contact.png")
    height = HEIGHT * 7
    assert sheet.shape[0] > 5 * height >= 5 * 256
    rows = [sheet[16 + (height + 6) * r + 32 * (r > 0) :][:height] for r in range(5)]
    for row, level in ((0, 100), (1, 30), (3, 120), (4, 100)):
        assert share(rows[row], 180, 40, 40) > 0.1
        assert share(rows[row], level, level, level) > 0.01
    assert share(rows[2], 0, 0, 0) > 0.1
    assert share(rows[0], 180, 40, 40) < share(rows[4], 180, 40, 40) / 2


def test_more_columns_than_frames(folders, tmp_path):
    sizes = []
    for columns in (1, COUNT, 50):
        evaluate(**folders, out=tmp_path / "report", columns=columns)
        sizes.append(read_png(tmp_path / "report" / "contact.png").shape)
    assert sizes[0][1] < sizes[1][1] == sizes[2][1]


def test_folders_that_do_not_belong_together_are_refused(folders, tmp_path):
    with pytest.raises(InputError, match="columns"):
        evaluate(**folders, out=tmp_path / "report", columns=0)
    for name in ("driving", "truth"):
        write_frames(tmp_path / "short", clip(0)[:3], FramesInfo("12"))
        with pytest.raises(InputError, match=f"--{name} has 3 frames, the result 5"):
            evaluate(**{**folders, name: tmp_path / "short"}, out=tmp_path / "report")
    iuv = np.zeros((COUNT, HEIGHT * 2, WIDTH, 3), np.uint8)
    write_poses(tmp_path / "tall", iuv, PosesInfo("mannequin", "exact"))
    with pytest.raises(InputError, match="poses that were sampled"):
        evaluate(**{**folders, "poses": tmp_path / "tall"}, out=tmp_path / "report")
    with pytest.raises(InputError, match="not a poses folder"):
        evaluate(**{**folders, "poses": folders["truth"]}, out=tmp_path / "report")
    assert not (tmp_path / "report").exists()
