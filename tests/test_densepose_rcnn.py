"""The port equals detectron2 at every stage, on seeded weights; the rest is tested apart.

The tolerances hold across CPUs: boxes 1e-3 pixels, outputs 2e-4 (features up to 1e-4 of their
range), one label in a thousand.
"""

import math
import pickle
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from seeded_densepose import FIXTURES, SHAPES, seeded_arrays
from torch.nn import functional as F

from common.errors import InputError
from common.files import file_hash
from common.frames import FramesInfo, write_frames
from densepose_prep import detect
from densepose_prep.dump import Origin, read_dump
from densepose_prep.rcnn import backend, weights
from densepose_prep.rcnn.boxes import clipped, decoded, filled, overlap, unsuppressed
from densepose_prep.rcnn.chart import chart_result
from densepose_prep.rcnn.heads import Surface, persons
from densepose_prep.rcnn.network import DensePoseRcnn, Found
from densepose_prep.rcnn.picture import network_size, prepared, resized
from densepose_prep.rcnn.proposals import anchors, level_proposals
from densepose_prep.rcnn.roi_align import cells_of, levels_of, roi_align

CHANNELS = [0, 37, 101, 255]
SIZE = (200, 267)
NOWHERE = torch.zeros(4, dtype=torch.long)


@pytest.fixture(scope="module")
def reference():
    with np.load(FIXTURES / "stages.npz") as values:
        return {name: values[name] for name in values.files}


@pytest.fixture(scope="module")
def seeded_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model_final.pkl"
    with open(path, "wb") as stream:
        pickle.dump({"model": seeded_arrays(), "__author__": "seeds"}, stream)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def loaded(seeded_file):
    return weights.load(seeded_file)


@pytest.fixture(scope="module")
def ours(loaded, reference):
    """Everything the port makes on the way, under the reference's names."""
    network, _ = loaded
    pictures = prepared([resized(reference["picture"], SIZE)], torch.zeros(1))
    boxes = torch.from_numpy(reference["given_boxes"])
    with torch.inference_mode():
        made = {f"res{n}": x for n, x in network.backbone.bottom_up(pictures).items()}
        pyramid = network.backbone(pictures)
        made |= {f"p{n}": level for n, level in enumerate(pyramid, start=2)}
        for n, level in enumerate(pyramid, start=2):
            made[f"rpn_logits_p{n}"], made[f"rpn_deltas_p{n}"] = (
                network.proposal_generator.rpn_head(level)
            )
        made["proposals"], made["objectness"] = network.proposal_generator(pyramid, SIZE)
        heads = network.roi_heads
        pooled = roi_align(pyramid[:4], boxes, NOWHERE, 7)
        made["box_pooled"] = pooled.permute(0, 3, 1, 2)
        made["box_head"] = heads.box_head(pooled)
        made["cls_logits"], made["box_deltas"] = heads.scored(pyramid, boxes, NOWHERE)
        made["decoder"] = heads.decoder(pyramid)
        made["dp_pooled"] = roi_align([made["decoder"]], boxes, NOWHERE, 28).permute(0, 3, 1, 2)
        made["dp_head"] = heads.densepose_head(made["dp_pooled"].clone())
        surface = heads.surfaces(made["decoder"], boxes, NOWHERE)
        made |= dict(zip(("coarse_segm", "fine_segm", "u", "v"), surface, strict=True))
    return SimpleNamespace(**made, surface=surface)


def close(made: torch.Tensor, expected: np.ndarray, tolerance: float = 2e-4) -> None:
    np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=tolerance)


def same_surface(result, labels: np.ndarray, uv: np.ndarray) -> None:
    assert result.labels.shape == labels.shape
    same = result.labels.numpy() == labels
    assert (~same).sum() <= 0.001 * labels.size
    np.testing.assert_allclose(result.uv.numpy()[:, same], uv[:, same], rtol=0, atol=2e-4)


def test_the_network_asks_for_the_official_arrays():
    assert len(SHAPES) == 335
    with torch.device("meta"):
        assert weights.official_shapes(DensePoseRcnn()) == SHAPES


def test_the_resize_is_pillows(reference):
    picture = np.ascontiguousarray(resized(reference["picture"], SIZE)[..., ::-1])
    assert zlib.crc32(picture.tobytes()) == reference["resized_crc32"]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 640), (800, 1000)),
        ((640, 512), (1000, 800)),
        ((1280, 720), (1333, 750)),
        ((720, 1280), (750, 1333)),
        ((664, 1328), (666, 1333)),
        ((100, 900), (148, 1333)),
        ((481, 641), (800, 1066)),
    ],
)
def test_sizes_as_detectron2_chooses_them(size, expected):
    assert network_size(size) == expected


def test_pictures_are_bgr_less_the_mean_and_padded_with_nothing():
    frame = np.full((33, 64, 3), (200, 100, 50), np.uint8)
    picture = prepared([frame], torch.zeros(1))[0]
    assert picture.shape == (3, 64, 64)
    np.testing.assert_allclose(picture[:, 0, 0], [50 - 103.53, 100 - 116.28, 200 - 123.675])
    assert not picture[:, 33:].any()


STAGES = [
    *(f"res{n}" for n in range(2, 6)),
    *(f"p{n}" for n in range(2, 7)),
    *(f"rpn_{what}_p{n}" for n in range(2, 7) for what in ("logits", "deltas")),
    *("box_pooled", "decoder", "dp_pooled", "dp_head", "coarse_segm", "fine_segm", "u", "v"),
]


@pytest.mark.parametrize("stage", STAGES)
def test_feature_maps_are_detectron2s(stage, ours, reference):
    made, expected = getattr(ours, stage), reference[f"{stage}/sub"]
    assert made.shape == tuple(reference[f"{stage}/shape"])
    down, across = reference[f"{stage}/step"]
    whole = expected.shape[1] == made.shape[1]
    channels = range(made.shape[1]) if whole else CHANNELS[: expected.shape[1]]
    largest = np.abs(reference[f"{stage}/stats"][2:]).max()
    close(made[:, channels, ::down, ::across], expected, max(2e-4, 1e-5 * largest))


def test_proposals_are_detectron2s(ours, reference):
    for level, cells in ((0, (56, 72)), (4, (4, 5))):
        made = anchors(cells, level, torch.device("cpu"))
        close(made[:6], reference[f"anchors_p{level + 2}_first6"], 0)
        assert made.shape == (cells[0] * cells[1] * 3, 4)
    valid = ours.objectness[0] > -torch.inf
    assert valid.sum() == len(reference["proposals_all_logits"])
    close(ours.objectness[0, valid], reference["proposals_all_logits"])
    close(ours.proposals[0, :20], reference["proposals_top20_boxes"], 1e-3)


def test_the_box_head_is_detectron2s(ours, reference):
    close(ours.box_head[:, ::16], reference["box_head/sub"])
    close(ours.cls_logits, reference["cls_logits"])
    close(ours.box_deltas, reference["box_deltas"])


def test_charts_are_detectron2s(ours, reference):
    below, above = np.inf, -np.inf
    for index, box in enumerate(reference["given_frame_boxes"]):
        surface = Surface(*(values[index] for values in ours.surface))
        made = chart_result(surface, torch.from_numpy(box))
        expected = reference[f"chart{index}/uv"]
        same_surface(made, reference[f"chart{index}/labels"], expected)
        below, above = min(below, expected.min()), max(above, expected.max())
    assert below < -0.5
    assert above > 1.5


def test_persons_are_detectron2s(loaded, reference, monkeypatch):
    """All hundred; the surfaces of the first are compared below. Two pictures keep apart."""
    network, _ = loaded

    def flat(decoded, boxes, images):
        return Surface(*(torch.zeros(len(boxes), channels, 1, 1) for channels in (2, 25, 25, 25)))

    monkeypatch.setattr(network.roi_heads, "surfaces", flat)
    frames = [resized(reference[name], SIZE) for name in ("picture", "picture2")]
    found = network(prepared(frames, torch.zeros(1)), SIZE)
    close(found.boxes[:100], reference["det_boxes_input"], 1e-3)
    close(found.scores[:100], reference["det_scores"])
    assert found.images[:100].tolist() == [0] * 100
    alone = network(prepared(frames[1:], torch.zeros(1)), SIZE)
    close(found.boxes[100:], alone.boxes.numpy(), 1e-3)
    close(found.scores[100:], alone.scores.numpy())
    made = backend.detections("a.png", found, 0, SIZE, (120, 160))
    close(made.boxes, reference["final_boxes"], 1e-3)
    close(made.scores, reference["final_scores"])


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(backend, "network_size", lambda size: network_size(size, 200, 400))


def test_the_stage_writes_what_detectron2_finds(
    seeded_file, loaded, reference, small, tmp_path, monkeypatch
):
    """Two frames at once, two persons each, in a dump that names the weights' own hash."""
    monkeypatch.setattr(backend, "load", {seeded_file: loaded}.get)
    pictures = [reference["picture"], reference["picture2"]]
    write_frames(tmp_path / "frames", pictures, FramesInfo("25"))
    dump = tmp_path / "dump.pkl"
    detect.densepose(tmp_path / "frames", dump, "rcnn", str(seeded_file), 2, 2)
    images, origin = read_dump(dump)
    assert origin == Origin("densepose", "rcnn", file_hash(seeded_file))
    assert [(image.file_name, len(image.results)) for image in images] == [
        ("000000.png", 2),
        ("000001.png", 2),
    ]
    close(images[0].boxes, reference["final_boxes"][:2], 1e-3)
    for index in range(2):
        labels, uv = (reference[f"final{index}/{what}"] for what in ("labels", "uv"))
        same_surface(images[0].results[index], labels, uv)


def plain_roi_align(features, boxes, scale, bins):
    """The published loops, two samples a bin and axis: (R, C, bins, bins) of (C, H, W)."""
    height, width = features.shape[1:]
    out = np.zeros((len(boxes), len(features), bins, bins))
    for r, box in enumerate(boxes):
        x0, y0, x1, y1 = box * scale
        size_y, size_x = max(y1 - y0, 1) / bins, max(x1 - x0, 1) / bins
        for by, bx, sy, sx in np.ndindex(bins, bins, 2, 2):
            y = y0 + by * size_y + (sy + 0.5) * size_y / 2
            x = x0 + bx * size_x + (sx + 0.5) * size_x / 2
            if -1 <= y <= height and -1 <= x <= width:
                y, x = np.clip([y, x], 0, [height - 1, width - 1])
                top, left = int(y), int(x)
                low, right = min(top + 1, height - 1), min(left + 1, width - 1)
                fy, fx = y - top, x - left
                upper = (1 - fx) * features[:, top, left] + fx * features[:, top, right]
                lower = (1 - fx) * features[:, low, left] + fx * features[:, low, right]
                out[r, :, by, bx] += ((1 - fy) * upper + fy * lower) / 4
    return out


def test_roi_align_by_the_plain_loops():
    """Boxes inside, across every edge, outside, smaller than a cell; several pictures at once."""
    random = np.random.default_rng(0)
    features = random.standard_normal((3, 5, 9, 11)).astype(np.float32)
    corners = random.uniform(-20, 60, (60, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    boxes[:10, 2:] = boxes[:10, :2] + 1
    images = random.integers(0, 3, 60)
    made = roi_align([torch.from_numpy(features)], *map(torch.from_numpy, (boxes, images)), 4)
    for image in range(3):
        expected = plain_roi_align(features[image], boxes[images == image], 1 / 4, 4)
        np.testing.assert_allclose(
            made[images == image].permute(0, 3, 1, 2), expected, rtol=0, atol=1e-5
        )


def test_half_precision_reads_the_same_cells():
    random = torch.Generator().manual_seed(0)
    level = torch.randn(1, 8, 16, 16, generator=random)
    boxes = torch.tensor([[3.3, 5.5, 50.2, 61.7], [900.0, 900, 990, 990]])
    whole = roi_align([level], boxes, NOWHERE[:2], 7)
    half = roi_align([level.half()], boxes, NOWHERE[:2], 7)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), whole, rtol=0, atol=5e-3)
    assert not whole[1].any()


def test_every_box_reads_its_own_level():
    sides = torch.tensor([10.0, 111, 113, 223, 225, 447, 449, 2000])
    boxes = torch.stack([0 * sides, 0 * sides, sides, sides], 1)
    levels = levels_of(boxes, 4)
    assert levels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    maps = [torch.full((2, 1, 64 >> k, 64 >> k), float(k)) for k in range(4)]
    maps = [level + 10 * torch.arange(2)[:, None, None, None] for level in maps]
    images = torch.arange(8) % 2
    inside = boxes.clamp(max=240)
    read = roi_align(maps, inside, images, 7).mean((1, 2))[:, 0]
    torch.testing.assert_close(read, levels_of(inside, 4) + 10.0 * images)


def test_samples_count_up_to_a_cell_outside():
    _, shares = cells_of(torch.tensor([-2.0]), torch.tensor([6.0]), 4, 4)
    assert shares.sum(-1).tolist() == [[0.5, 1, 1, 0]]


def test_boxes_grow_no_more_than_the_published_limit():
    boxes = torch.tensor([[10.0, 20, 30, 60]])
    made = decoded(boxes, torch.tensor([[10.0, -5, 1e9, -5 * math.log(2)]]), (10.0, 5.0))
    torch.testing.assert_close(made, torch.tensor([[40.0 - 625, 20 - 10, 40 + 625, 20 + 10]]))
    torch.testing.assert_close(clipped(made, (25, 90)), torch.tensor([[0.0, 10, 90, 25]]))
    some = torch.tensor([[0.0, 0, 1, 1], [1, 0, 1, 5], [0, 3, 4, 3]])
    assert filled(some).tolist() == [True, False, False]


def greedy(boxes: torch.Tensor, valid: torch.Tensor, threshold: float) -> list[bool]:
    kept: list[int] = []
    overlaps = overlap(boxes)
    for index in range(len(boxes)):
        if valid[index] and not any(overlaps[index, other] > threshold for other in kept):
            kept.append(index)
    return [index in kept for index in range(len(boxes))]


def test_suppression_is_the_greedy_one():
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(3, 80, 2, generator=random) * 30
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(3, 80, 2, generator=random)], -1)
    chain = torch.arange(80)[:, None] * torch.tensor([1.0, 0, 1, 0]) + torch.tensor([0.0, 0, 4, 4])
    boxes = torch.cat([boxes, chain[None]])
    valid = torch.rand(4, 80, generator=random) < 0.9
    valid[3] = True
    made = unsuppressed(boxes, valid, 0.5)
    assert made.tolist() == [greedy(b, v, 0.5) for b, v in zip(boxes, valid, strict=True)]
    assert made[3].tolist() == [index % 2 == 0 for index in range(80)]


def test_overlap_is_intersection_over_union():
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
    expected = torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(overlap(boxes), expected)


def test_a_level_gives_its_thousand_best():
    """Anchors made so small that none suppresses another; one row is moved off the picture."""
    logits = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    logits[:, :, 7] += 100
    deltas = torch.zeros(1, 12, 40, 40)
    deltas[:, 2::4] = deltas[:, 3::4] = -4
    deltas[:, 0::4, 7] = -1000
    boxes, scores = level_proposals(logits, deltas, 0, (160, 160))
    assert boxes.shape == (1, 1000, 4)
    best = logits.flatten().topk(1000).values
    assert (scores[0, :120] == -torch.inf).all()
    torch.testing.assert_close(scores[0, 120:], best[120:])


def test_persons_are_sure_apart_and_at_most_so_many():
    proposals = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10]]])
    deltas = torch.zeros(1, 4, 4)
    wanted = torch.tensor([[0.6, 0.9, 0.04, 0.3]])
    logits = torch.stack([wanted.log(), (1 - wanted).log()], -1)
    everywhere = torch.ones(1, 4, dtype=torch.bool)
    boxes, scores = persons(proposals, logits, deltas, everywhere, (50, 50), 100)
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.3, 0, 0]]))
    torch.testing.assert_close(boxes[0, :2], proposals[0, [1, 3]])
    boxes, scores = persons(proposals, logits, deltas, everywhere, (50, 50), 1)
    assert scores.shape == (1, 1)


def test_the_part_is_chosen_after_enlarging():
    """Between two parts the middle belongs to the one that is second on both sides."""
    fine = torch.zeros(25, 1, 2)
    fine[1, 0, 0] = fine[2, 0, 1] = 1
    fine[3] = 0.6
    coarse = torch.tensor([0.0, 1])[:, None, None].expand(2, 1, 2)
    values = torch.arange(25.0)[:, None, None].expand(25, 1, 2)
    made = chart_result(Surface(coarse, fine, values, -values), torch.tensor([0, 0, 9.9, 1.5]))
    assert made.labels.tolist() == [[1, 1, 1, 1, 3, 2, 2, 2, 2]]
    torch.testing.assert_close(made.uv[0], made.labels.float())
    torch.testing.assert_close(made.uv[1], -made.labels.float())


def test_boxes_without_area_are_left_out_in_the_frames_pixels():
    boxes = torch.tensor([[0.0, 0, 0, 9], [3, 4, 29.5, 41], [1, 1, 5, 5]])
    which = torch.arange(3)[:, None, None, None]
    maps = (torch.rand(3, channels, 8, 8) + which for channels in (2, 25, 25, 25))
    found = Found(boxes, torch.tensor([0, 0, 1]), torch.tensor([0.9, 0.8, 0.7]), Surface(*maps))
    made = backend.detections("a.png", found, 0, (40, 30), (80, 60))
    assert made.boxes.tolist() == [[6, 8, 59, 80]]
    assert made.scores.tolist() == pytest.approx([0.8])
    (result,) = made.results
    assert result.labels.shape == (72, 53)
    assert result.uv[:, result.labels > 0].min() > 1


def test_nobody_is_no_error(loaded, small):
    network = loaded[0]
    bias = network.roi_heads.box_predictor.cls_score.bias
    bias[1] += 1000
    try:
        pictures = prepared([np.zeros((64, 64, 3), np.uint8)] * 2, torch.zeros(1))
        found = network(pictures, (64, 64))
    finally:
        bias[1] -= 1000
    assert found.surface is None
    nobody = backend.detections("1.png", found, 1, (64, 64), (64, 64))
    assert (nobody.results, tuple(nobody.boxes.shape)) == ([], (0, 4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: no CUDA device")
def test_half_precision_on_a_gpu_finds_the_same_persons(seeded_file, reference, small):
    made = backend.RcnnBackend(str(seeded_file), 1, 100)
    (found,) = made.detect([("a.png", reference["picture"])])
    near = overlap(torch.cat([found.boxes, torch.from_numpy(reference["final_boxes"])]))
    count = len(found.boxes)
    assert (near[count:, :count].amax(1) > 0.9).float().mean() > 0.9


def test_normalisation_is_folded_exactly():
    random = np.random.default_rng(0)
    name = "backbone.bottom_up.stem.conv1"
    arrays = {
        f"{name}.weight": random.standard_normal((4, 3, 3, 3)),
        f"{name}.norm.running_var": random.uniform(1e-6, 1, 4),
        **{f"{name}.norm.{part}": random.standard_normal(4) for part in ("weight", "bias")},
        f"{name}.norm.running_mean": random.standard_normal(4),
        "roi_heads.box_head.fc1.weight": np.zeros((1, 256 * 49)),
    }
    folded = weights.as_used(arrays)
    given = torch.randn(2, 3, 5, 5)
    made = F.conv2d(given, folded[f"{name}.weight"], folded[f"{name}.bias"])
    mean, variance, weight, bias = (
        torch.tensor(arrays[f"{name}.norm.{part}"]).float()
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    plain = F.conv2d(given, torch.tensor(arrays[f"{name}.weight"]).float())
    expected = F.batch_norm(plain, mean, variance, weight, bias, eps=1e-5)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-3)


def test_weights_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="no DensePose weights"):
        weights.load(tmp_path / "none.pkl")
