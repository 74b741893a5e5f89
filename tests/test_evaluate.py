"""The report of a render: true figures, no invented ones, a sheet that shows what is what."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import InputError
from common.files import folder_hash
from common.frames import FramesInfo, write_frames
from common.images import read_png, write_png
from common.poses import PosesInfo, write_poses
from common.video import write_video
from dreampose_core import metrics
from dreampose_core.colour import ciede2000, lab
from dreampose_core.compare import compare
from dreampose_core.evaluate import evaluate
from dreampose_core.measuring import Extras

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


def test_the_true_frames_own_changes_stand_beside(folders, tmp_path):
    frames = clip(100)
    frames[1::2] += 6
    write_frames(tmp_path / "truth", frames, FramesInfo("12"))
    report = evaluate(**folders, out=tmp_path / "report")
    assert report["flicker"] == report["colour_flicker"] == 0
    assert report["truth"]["flicker"] == pytest.approx(6 / 255, abs=1e-3)
    assert report["truth"]["warped_difference"] > report["warped_difference"]


def test_pose_and_identity(folders, tmp_path):
    photo_iuv = np.zeros((1, 90, 60, 3), np.uint8)
    photo_iuv[0, person(0, 90, 60)] = 2, 100, 200
    write_poses(tmp_path / "own", photo_iuv, PosesInfo("mannequin", "exact"))
    found = np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    for index in range(COUNT):
        found[index, person(index)] = 2, 100, 149
        found[index, person(index) & (np.arange(HEIGHT)[:, None] < HEIGHT // 2)] = 0
    write_poses(tmp_path / "found", found, PosesInfo("mannequin", "mini"))
    more = {"subject_poses": tmp_path / "own", "estimated_poses": tmp_path / "found"}
    report = evaluate(**folders, **more, out=tmp_path / "report")
    lower = (found[..., 0] > 0).sum() / sum(person(i).sum() for i in range(COUNT))
    assert report["pose"]["part_iou"] == pytest.approx(lower, abs=1e-4)
    assert report["pose"]["per_part"]["2"] == pytest.approx(lower, abs=1e-4)
    assert report["pose"]["per_part"]["1"] is None
    assert report["pose"]["v_error"] == pytest.approx(51 / 255, abs=1e-4)
    greys = lab(np.array([[[100] * 3], [[120] * 3]], np.uint8))
    assert report["identity"]["torso"] == pytest.approx(ciede2000(*greys)[0], abs=1e-3)
    assert report["identity"]["head"] is None
    assert report["truth"]["identity"]["torso"] == 0
    plain = evaluate(**folders, out=tmp_path / "report")
    assert plain["pose"] is plain["identity"] is None
    with pytest.raises(InputError, match="estimate them from the result"):
        evaluate(**folders, estimated_poses=tmp_path / "own", out=tmp_path / "report")
    with pytest.raises(InputError, match="subject's own poses"):
        evaluate(**folders, subject_poses=tmp_path / "found", out=tmp_path / "report")


def test_poses_of_another_chart_are_not_compared(folders, tmp_path, capsys):
    iuv = np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    write_poses(tmp_path / "found", iuv, PosesInfo("densepose", "rcnn"))
    found = {"estimated_poses": tmp_path / "found"}
    report = evaluate(**folders, **found, out=tmp_path / "report")
    assert report["pose"] is None
    assert "'densepose', asked for in 'mannequin'" in report["unmeasured"]["pose"]
    report = compare(folders["samples"], folders["truth"], folders["poses"], **found)
    assert report["pose"] is None
    assert report["unmeasured"]["pose"] in capsys.readouterr().out


def test_any_two_clips_are_compared(folders, tmp_path, capsys):
    plain = tmp_path / "plain"
    plain.mkdir()
    for index, frame in enumerate(clip(100)):
        write_png(plain / f"picture-{index}.png", frame)
    report = compare(folders["samples"], plain, folders["poses"], out=tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == report
    other = evaluate(**folders, out=tmp_path / "report")
    for key in ("l1", "psnr", "ssim", "person_psnr", "person_ssim"):
        assert report["truth"][key] == other["truth"][key]
    assert f"{report['truth']['psnr']:.4f}  PSNR" in capsys.readouterr().out
    write_video(tmp_path / "a.mp4", clip(120), (HEIGHT, WIDTH), "12", "", crf=0)
    video = compare(tmp_path / "a.mp4", plain)
    assert video["truth"]["psnr"] == pytest.approx(other["truth"]["psnr"], abs=4)
    assert video["flicker"] is None
    with pytest.raises(InputError, match="--second has 2 frames, the result 5"):
        compare(folders["samples"], cut(tmp_path / "two"))
    assert compare(folders["samples"], cut(tmp_path / "two"), max_frames=2)["frames"] == 2


def cut(folder: Path) -> Path:
    write_frames(folder, clip(100)[:2], FramesInfo("12"))
    return folder


def test_folders_that_cannot_be_compared_are_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        compare(tmp_path / "empty", folders["truth"])
    (tmp_path / "mixed").mkdir()
    for index, frame in enumerate((clip(1)[0], clip(1, 50, 40)[0])):
        write_png(tmp_path / "mixed" / f"{index}.png", frame)
    with pytest.raises(InputError, match="differ in size"):
        compare(tmp_path / "mixed", folders["truth"])


def test_extras_need_true_frames(folders, tmp_path):
    with pytest.raises(InputError, match="--truth"):
        evaluate(**without(folders, "truth"), extras=Extras(lpips=True), out=tmp_path / "report")


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
