"""Frames to a dump to poses in the subject's frame: the network, reformatting, retargeting."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from common.errors import InputError
from common.frames import FramesInfo, write_frames
from common.images import Fit, read_png
from common.poses import FramePose, PosesInfo, part_box, read_info, read_poses, write_poses
from common.program import main
from densepose_prep.__main__ import VERBS
from densepose_prep.crop import clip_crop
from densepose_prep.dump import ChartResult, Detections, Origin, read_dump, write_dump
from densepose_prep.mini import MiniBackend, closer, detection
from densepose_prep.network import LABELS, OUTPUTS, IuvConfig, IuvNetwork
from densepose_prep.pasting import iuv_image
from densepose_prep.retarget import alignment, comparable, moved, spans, stance

MINI = Origin("mannequin", "mini", "abc")
SMALL = IuvConfig(height=64, width=48, channels=(8, 16))


def run(*arguments: object) -> int:
    return main("densepose_prep", VERBS, [str(argument) for argument in arguments])


def person(height: int, width: int, top: int, left: int, tall: int, *, feet: bool = True):
    """IUV of a standing figure: head, torso with arms stretched out, legs and feet."""
    iuv = np.zeros((height, width, 3), np.uint8)
    unit = tall // 8
    iuv[top : top + unit, left : left + unit] = 23, 10, 20
    iuv[top + unit : top + 4 * unit, left - unit : left + 2 * unit] = 2, 128, 200
    iuv[top + unit : top + 2 * unit, left + 2 * unit : left + 4 * unit] = 16, 50, 60
    iuv[top + 4 * unit : top + 7 * unit, left : left + unit] = 9, 70, 80
    if feet:
        iuv[top + 7 * unit : top + 8 * unit, left : left + unit] = 6, 90, 100
    return iuv


def outputs(iuv: np.ndarray) -> torch.Tensor:
    """What a network that is sure of `iuv` says: (73, H, W)."""
    said = torch.zeros(OUTPUTS, *iuv.shape[:2])
    values = torch.from_numpy(iuv.astype(np.float32) / 255)
    labels = torch.from_numpy(iuv[..., 0].astype(np.int64))
    said[:LABELS].scatter_(0, labels[None], 20.0)
    said[LABELS : LABELS + 24] = values[..., 1]
    said[LABELS + 24 :] = values[..., 2]
    return said


@pytest.fixture
def frames(tmp_path):
    """Make a frames folder of noise."""

    def make(count: int = 4, height: int = 60, width: int = 50, name: str = "frames") -> Path:
        pictures = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        write_frames(tmp_path / name, pictures, FramesInfo("25"))
        return tmp_path / name

    return make


@pytest.fixture
def network(tmp_path):
    """Make a folder of untrained weights that see a person everywhere, or nowhere."""

    def make(background: float) -> Path:
        torch.manual_seed(0)
        made = IuvNetwork(SMALL)
        with torch.no_grad():
            made.parts.bias[0] = background
        made.half().save(tmp_path / f"weights{background}")
        return tmp_path / f"weights{background}"

    return make


@pytest.fixture
def poses(tmp_path):
    """Make a poses folder of IUV images."""

    def make(name: str, *iuvs: np.ndarray, chart: str = "mannequin", fps: str = "25") -> Path:
        write_poses(tmp_path / name, iuvs, PosesInfo(chart, "mini", fps=fps))
        return tmp_path / name

    return make


@pytest.mark.parametrize("size", [(64, 48), (200, 90), (33, 91)])
def test_from_frames_to_poses(size, frames, network, tmp_path):
    folder, weights = frames(3, *size), network(-50)
    dump, poses, previews = tmp_path / "dump.pkl", tmp_path / "poses", tmp_path / "previews"
    for _ in range(2):
        assert run("densepose", "--frames", folder, "--out", dump, "--weights", weights) == 0
    images, origin = read_dump(dump)
    assert [image.file_name for image in images] == ["000000.png", "000001.png", "000002.png"]
    assert (origin.chart, origin.backend, len(origin.weights)) == ("mannequin", "mini", 32)
    assert images[0].boxes.tolist() == [[0, 0, size[1], size[0]]]
    assert 0 < images[0].scores.item() <= 1

    given = ("reformat", "--dump", dump, "--frames", folder, "--out", poses)
    assert run(*given, "--previews", previews) == 0
    info = read_info(poses)
    assert (info.size, info.chart, info.fps, info.weights) == (
        size,
        "mannequin",
        "25",
        origin.weights,
    )
    assert info.crop == (0, 0, size[1], size[0])
    assert read_poses(poses)[..., 0].min() > 0
    assert read_png(previews / "sheet.png").size
    with av.open(str(previews / "preview.mp4")) as video:
        assert video.streams.video[0].frames == 3


def test_an_empty_frame_has_no_detection(frames, network, tmp_path, capsys):
    folder, dump = frames(2), tmp_path / "dump.pkl"
    assert run("densepose", "--frames", folder, "--out", dump, "--weights", network(50)) == 0
    assert [image.results for image in read_dump(dump)[0]] == [[], []]
    out = tmp_path / "poses"
    assert run("reformat", "--dump", dump, "--frames", folder, "--out", out) == 2
    assert "no person found in 2 of 2 frames" in capsys.readouterr().err
    assert not out.exists()


def test_missing_weights_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="no IUV weights"):
        MiniBackend(tmp_path / "none")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no IUV weights"):
        MiniBackend(tmp_path / "none")


def test_a_sure_network_gives_its_own_map():
    iuv = person(64, 48, 4, 20, 56)
    found = detection("0.png", Fit.whole((64, 48), (64, 48)), outputs(iuv))
    np.testing.assert_array_equal(iuv_image(found, 0, (64, 48)), iuv)
    assert found.boxes[0].tolist() == list(part_box(iuv))
    assert found.scores.item() > 0.99


def test_enlarged_results_lie_where_the_person_is():
    """Frame four times the network's size, beside a letterbox: labels as nearest would give."""
    fit = Fit.whole((256, 128), (64, 48))
    x0, _, x1, _ = fit.inner
    small = person(64, 48, 4, 20, 56)
    small[:, :x0] = small[:, x1:] = 0
    found = detection("0.png", fit, outputs(small))
    expected = np.kron(small[:, x0:x1, 0], np.ones((4, 4), np.uint8))
    labels = iuv_image(found, 0, (256, 128))[..., 0]
    assert (labels != expected).mean() < 0.01
    assert found.boxes[0].tolist() == list(part_box(expected[..., None]))


def test_only_the_largest_person_counts_with_its_loose_pieces():
    iuv = person(100, 80, 4, 20, 80)
    alone = iuv.copy()
    iuv[90:96, 70:76] = 2, 1, 1
    iuv[46:49, 20:30] = alone[46:49, 20:30] = 0
    found = detection("0.png", Fit.whole((100, 80), (100, 80)), outputs(iuv))
    np.testing.assert_array_equal(iuv_image(found, 0, (100, 80))[..., 0], alone[..., 0])


def test_small_persons_are_looked_at_again():
    fit = Fit.whole((640, 480), (64, 48))
    assert closer(fit, outputs(person(64, 48, 4, 20, 56))) is None
    assert closer(fit, outputs(np.zeros((64, 48, 3), np.uint8))) is None
    far = person(64, 48, 20, 20, 16)
    nearer = closer(fit, outputs(far))
    x0, y0, x1, y1 = (10 * value for value in part_box(far))
    assert nearer.crop[0] < x0 < x1 < nearer.crop[2]
    assert nearer.crop[1] < y0 < y1 < nearer.crop[3]
    assert nearer.crop[3] - nearer.crop[1] < 240


def test_the_crop_of_a_second_look_is_undone(network):
    """The same figure seen in a crop lands on the same pixels of the frame."""
    fit = Fit((200, 200), (64, 48), (60, 40, 108, 104))
    iuv = person(64, 48, 4, 20, 56)
    found = detection("0.png", fit, outputs(iuv))
    expected = np.zeros((200, 200, 3), np.uint8)
    expected[40:104, 60:108] = iuv
    np.testing.assert_array_equal(iuv_image(found, 0, (200, 200)), expected)


def one_person(name: str, box: tuple, part: int = 2, score: float = 0.9) -> Detections:
    size = int(box[3] - box[1]), int(box[2] - box[0])
    result = ChartResult(torch.full(size, part), torch.full((2, *size), 0.5))
    return Detections(name, torch.tensor([score]), torch.tensor([box]).float(), [result])


def nobody(name: str) -> Detections:
    return Detections(name, torch.zeros(0), torch.zeros(0, 4), [])


def test_persons_are_pasted_as_the_reference_does():
    labels = torch.tensor([[0, 3], [24, 1]])
    uv = torch.tensor([[[0.9, 0.5], [-0.7, 1.4]], [[0.9, 0.25], [1.0, 0.0]]])
    image = Detections(
        "0", torch.ones(1), torch.tensor([[2.9, 1.2, 4.95, 3.4]]), [ChartResult(labels, uv)]
    )
    iuv = iuv_image(image, 0, (5, 6))
    assert iuv[1, 2].tolist() == [0, 0, 0]
    assert iuv[1, 3].tolist() == [3, 128, 64]
    assert iuv[2, 2].tolist() == [24, 0, 255]
    assert iuv[2, 3].tolist() == [1, 255, 0]
    assert np.count_nonzero(iuv[..., 0]) == 3


def test_persons_are_cut_at_the_frame():
    iuv = iuv_image(one_person("0", (-2, -1, 3, 4)), 0, (6, 6))
    assert part_box(iuv) == (0, 0, 3, 4)
    iuv = iuv_image(one_person("0", (4, 4, 9, 9)), 0, (6, 6))
    assert part_box(iuv) == (4, 4, 6, 6)


def reformatted(tmp_path, folder: Path, *images: Detections, options: tuple = ()) -> Path | None:
    write_dump(tmp_path / "dump.pkl", images, MINI)
    out = tmp_path / "poses"
    dump = tmp_path / "dump.pkl"
    code = run("reformat", "--dump", dump, "--frames", folder, "--out", out, *options)
    return out if code == 0 else None


def test_frames_are_ordered_by_number_and_the_largest_person_taken(frames, tmp_path):
    crowd = one_person("x/img_2.png", (0, 0, 5, 5), part=1)
    crowd.scores = torch.tensor([0.9, 0.3])
    crowd.boxes = torch.tensor([[0, 0, 5, 5], [10, 10, 40, 50]]).float()
    crowd.results += one_person("", (10, 10, 40, 50), part=7).results
    images = [one_person("x/img_10.png", (5, 5, 30, 50), part=3), crowd]
    out = reformatted(tmp_path, frames(2), *images)
    first, second = read_poses(out)
    assert (first[20, 20, 0], second[20, 20, 0]) == (7, 3)
    assert first[2, 2, 0] == 0
    info = read_info(out)
    assert [frame.score for frame in info.frames] == pytest.approx([0.3, 0.9])
    assert info.frames[1].box == (5, 5, 30, 50)
    assert info.crop == clip_crop([(10, 10, 40, 50), (5, 5, 30, 50)], (60, 50))


def test_gaps_are_filled_and_say_so(frames, tmp_path):
    boxes = {1: (0, 0, 20, 20), 2: (3, 0, 23, 20), 3: (6, 0, 26, 20), 5: (12, 0, 32, 20)}
    images = [
        one_person(f"{i}.png", boxes[i], part=4) if i in boxes else nobody(f"{i}.png")
        for i in range(6)
    ]
    out = reformatted(tmp_path, frames(6), *images, options=("--most-missing", "0.4"))
    assert [part_box(iuv) for iuv in read_poses(out)] == [
        *(boxes[1], boxes[1], boxes[2], boxes[3]),
        *((9, 0, 29, 20), boxes[5]),
    ]
    info = read_info(out)
    assert [frame.filled for frame in info.frames] == [i not in boxes for i in range(6)]
    assert [frame.score > 0 for frame in info.frames] == [i in boxes for i in range(6)]
    assert info.frames[4].box == (9, 0, 29, 20)


def test_too_many_gaps_are_refused_by_name(frames, tmp_path, capsys):
    empty = {0, 3, 4, 5, 9}
    images = [
        nobody(f"{i}.png") if i in empty else one_person(f"{i}.png", (0, 0, 9, 9))
        for i in range(12)
    ]
    assert reformatted(tmp_path, frames(12), *images) is None
    error = capsys.readouterr().err
    assert "no person found in 5 of 12 frames" in error
    assert "(0, 3–5, 9)" in error
    assert reformatted(tmp_path, frames(12), *images, options=("--most-missing", "0.5"))


def test_smoothing_is_of_the_frames_and_their_boxes(frames, tmp_path):
    boxes = [(0, 0, 20, 20 + 4 * (i == 2)) for i in range(5)]
    images = [one_person(f"{i}.png", box, part=2 + (i == 2)) for i, box in enumerate(boxes)]
    out = reformatted(tmp_path, frames(5), *images, options=("--smooth",))
    assert read_poses(out)[2, 5, 5].tolist() == [2, 128, 128]
    assert read_info(out).frames[2].box == pytest.approx((0, 0, 20, 20 + 4 * 3 / 9))
    assert read_info(out).frames[0].box == boxes[0]


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        ([one_person("0.png", (0, 0, 9, 9)), *map(nobody, ("1.png", "2.png"))], "no person found"),
        ([one_person("0.png", (0, 0, 9, 9))], "1 images for 3 frames"),
        ([one_person(f"{i}.png", (0, 0, 90, 9)) for i in range(3)], "outside the 50×60 frame"),
        ([one_person(name, (0, 0, 9, 9)) for name in ("1.png", "01.png", "2.png")], "two images"),
        (
            [one_person(name, (0, 0, 9, 9)) for name in ("1.png", "2.png", "a.png")],
            "no frame number",
        ),
    ],
)
def test_dumps_that_do_not_fit_are_refused(images, problem, frames, tmp_path, capsys):
    assert reformatted(tmp_path, frames(3), *images) is None
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "poses").exists()


def test_driving_poses_stand_where_the_subject_stands(poses, tmp_path):
    """Height, feet and middle match whatever the arms do; labels are only moved."""
    subject = poses("subject", person(300, 200, 40, 100, 240), person(300, 200, 10, 10, 80))
    clip = [person(120, 160, 20, x, 80) for x in (50, 54, 58)]
    clip[1][2:20, 60:64] = 20, 1, 1
    out = tmp_path / "out"
    driving, sheet = poses("driving", *clip, fps="30"), tmp_path / "sheet.png"
    given = ("retarget", "--poses", driving, "--subject", subject, "--out", out)
    assert run(*given, "--preview", sheet) == 0
    assert read_png(sheet).shape == (300 + 2 + 300, 3 * 202 - 2, 3)
    made, info = read_poses(out), read_info(out)
    assert (info.size, info.fps, info.chart, len(info.frames)) == ((300, 200), "30", "mannequin", 3)
    truth = person(300, 200, 40, 100, 240)
    np.testing.assert_array_equal(made[1][truth[..., 0] > 0], truth[truth[..., 0] > 0])
    for index, shift in enumerate((-12, 0, 12)):
        head = part_box(made[index] * (made[index][..., :1] == 23))
        assert head == (100 + shift, 40, 130 + shift, 70)
        assert info.frames[index].box == part_box(made[index])
    colours = {tuple(value) for value in np.concatenate(clip).reshape(-1, 3)}
    assert {tuple(value) for value in made.reshape(-1, 3)} == colours


def test_without_feet_head_and_hip_are_matched():
    cut = person(100, 100, 20, 40, 160, feet=False)
    whole = [person(120, 100, 10, 40, 80)] * 3
    first, second = comparable([spans(iuv) for iuv in whole], [spans(cut)])
    matrix = alignment(stance(first), stance(second))
    made = moved(whole[0], matrix, (100, 100))
    np.testing.assert_array_equal(part_box(made * (made[..., :1] == 2)), (20, 40, 80, 100))
    np.testing.assert_array_equal(part_box(made * (made[..., :1] == 23)), (40, 20, 60, 40))


def test_a_torso_alone_is_matched_by_its_box():
    bust = np.zeros((50, 50, 3), np.uint8)
    bust[10:50, 10:40] = 2, 1, 1
    first, second = comparable([spans(person(120, 100, 10, 40, 80))], [spans(bust)])
    assert stance(second) == stance([(10, 10, 40, 50)])
    assert stance(first).height == 80


def test_the_stance_is_robust():
    boxes = [(0, 10, 10, 90)] * 8 + [(4, 60, 14, 90)] * 4
    assert stance(boxes) == stance([(0, 10, 10, 90)])


def test_mode_none_letterboxes_the_whole_frame(poses, tmp_path):
    driving, subject = np.zeros((40, 80, 3), np.uint8), np.zeros((100, 100, 3), np.uint8)
    driving[:, :40] = 1, 2, 3
    subject[10:90, 40:60] = 2, 1, 1
    out = tmp_path / "out"
    folders = ("--poses", poses("driving", driving), "--subject", poses("subject", subject))
    assert run("retarget", *folders, "--out", out, "--mode", "none") == 0
    assert part_box(read_poses(out)[0]) == (0, 25, 50, 75)


def test_mixed_charts_are_refused(poses, tmp_path, capsys):
    iuv = person(100, 80, 4, 20, 80)
    folders = ("--poses", poses("one", iuv, chart="densepose"), "--subject", poses("other", iuv))
    assert run("retarget", *folders, "--out", tmp_path / "out") == 2
    assert "chart 'densepose'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flags_of_filled_frames_survive(poses, tmp_path):
    iuv = person(100, 80, 4, 20, 80)
    folder = tmp_path / "driving"
    found = [FramePose(part_box(iuv), 0.5), FramePose(part_box(iuv), 0.25, filled=True)]
    write_poses(folder, [iuv, iuv], replace(PosesInfo("mannequin", "mini"), frames=found))
    out = tmp_path / "out"
    assert run("retarget", "--poses", folder, "--subject", poses("subject", iuv), "--out", out) == 0
    assert [(f.score, f.filled) for f in read_info(out).frames] == [(0.5, False), (0.25, True)]
