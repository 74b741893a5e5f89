"""The IUV network's recipe: augmentation that keeps the truth true, loss, figures, a short run."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from common import mirror
from common.errors import InputError
from common.pose_error import part_iou, summary
from common.program import main
from common.settings import TrainingSettings
from common.shards import open_shard
from common.training import train
from densepose_prep import augment
from densepose_prep.__main__ import VERBS
from densepose_prep.mirror import both_ways, unflipped
from densepose_prep.network import (
    LABELS,
    IuvConfig,
    IuvNetwork,
    of_label,
    split_outputs,
    to_picture,
)
from densepose_prep.train_iuv import (
    IuvProblem,
    error_of,
    pairs_of,
    soft_dice,
    surface_error,
)
from mannequin.body import BODY, load_body
from mannequin.dataset import plan_dataset, render_dataset


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Two subjects, two frames each, 64×64."""
    folder = tmp_path_factory.mktemp("shard") / "train"
    plan = plan_dataset([0, 1], clips_per_subject=1, frames_per_clip=2, height=64, width=64)
    render_dataset(folder, plan, workers=1)
    return folder


@pytest.fixture
def pair(shard):
    rgb, iuv = pairs_of(open_shard(shard))
    return np.array(rgb[1]), np.array(iuv[1])


def run(*arguments: object) -> int:
    return main("densepose_prep", VERBS, [str(argument) for argument in arguments])


def test_the_chart_is_its_own_mirror_image():
    """`flipped` on the mannequin's surface: the counterpart of a face has the mirrored chart."""
    body = load_body()
    corners = body.canonical[body.layer_faces(BODY)]
    _, twin = cKDTree(corners.mean(1)).query(corners.mean(1) * [-1, 1, 1])
    part, (u, v) = body.charts.part, body.charts.uv.mean(1).T
    same = mirror.SWAP[part] == part[twin]
    assert same.mean() > 0.999
    mirrored = np.where(mirror.BACKWARDS[part], 1 - u, u)
    assert np.abs(mirrored - u[twin])[same].max() < 0.07
    assert np.abs(mirrored - u[twin])[same].mean() < 0.005
    assert np.abs(v - v[twin])[same].max() < 0.02


def test_flipping_twice_changes_nothing(pair):
    once = mirror.flipped(*pair)
    assert (once[1][..., 0] != pair[1][..., 0]).any()
    for made, given in zip(mirror.flipped(*once), pair, strict=True):
        np.testing.assert_array_equal(made, given)


def test_a_new_backdrop_leaves_the_person(pair):
    frame, iuv = pair
    mask = augment.person_mask(frame, iuv)
    assert mask[iuv[..., 0] > 0].all()
    assert (iuv[..., 0] > 0).mean() < mask.mean() < 0.4
    assert not mask[:, :3].any()


def test_frame_and_truth_move_alike(pair):
    """A frame that shows its own labels still shows them wherever it is moved."""
    _, iuv = pair
    shown = np.repeat(iuv[..., :1] * 10, 3, 2)
    for seed in range(5):
        frame, truth = augment.moved(shown, iuv, np.random.default_rng(seed))
        off = np.abs(frame[..., 0].astype(int) - truth[..., 0].astype(int) * 10)
        assert (off > 5).mean() < 0.12
        assert {tuple(p) for p in truth.reshape(-1, 3)} <= {tuple(p) for p in iuv.reshape(-1, 3)}


def test_augmentation_is_repeatable_and_varied(pair):
    def made(seed):
        return augment.augmented(*pair, np.random.default_rng(seed))

    for one, other in zip(made(1), made(1), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.uint8
        assert one.shape == pair[0].shape
    assert (made(1)[0] != made(2)[0]).mean() > 0.5


def test_what_is_seen_of_a_mirrored_picture_is_turned_back(pair):
    frame, iuv = pair
    straight, turned = (perfect(maps) for maps in (iuv, mirror.flipped(frame, iuv)[1]))
    for seen, known in zip(split_outputs(unflipped(turned)), split_outputs(straight), strict=True):
        own = slice(None) if seen.shape[1] == LABELS else split_outputs(straight)[0][:, 1:] > 0
        torch.testing.assert_close(seen[own], known[own], atol=0.005, rtol=0)
    seen = both_ways(lambda _: torch.cat([straight, turned]), straight[:, :3])
    torch.testing.assert_close(seen[:, :LABELS], straight[:, :LABELS])


def perfect(iuv: np.ndarray) -> torch.Tensor:
    """The network's outputs (1, 73, H, W) where it is sure and right."""
    maps = torch.from_numpy(np.ascontiguousarray(iuv))
    labels = torch.nn.functional.one_hot(maps[..., 0].long(), LABELS).permute(2, 0, 1)
    uv = maps[..., 1:].permute(2, 0, 1).float() / 255
    return torch.cat([labels, *(labels[1:] * channel for channel in uv)])[None].float()


def test_losses_by_hand():
    labels = torch.tensor([[[0, 0], [3, 3]]])
    pixels = labels.flatten()
    perfect = torch.nn.functional.one_hot(pixels, LABELS).float()
    assert soft_dice(perfect, torch.ones(4), pixels).item() == 0
    uniform = torch.full((4, LABELS), 1 / LABELS)
    expected = 1 - 2 * (2 / LABELS) / (4 / LABELS + 2)
    assert soft_dice(uniform, uniform[:, 0], pixels).item() == pytest.approx(expected)

    uv = torch.tensor([[[9, 9], [0.2, 0.4]], [[9, 9], [0.5, 0.5]]])[None]
    surface = torch.zeros(1, 48, 1, 1)
    surface[0, 2], surface[0, 24 + 2] = 0.4, 0.1
    assert surface_error(surface, labels, uv).item() == pytest.approx(0.1 + 0.4)
    assert surface_error(surface, labels * 0, uv).item() == 0


def test_the_parts_channel_is_taken():
    values = torch.arange(24.0).view(1, 24, 1, 1).expand(1, 24, 1, 3)
    assert of_label(values, torch.tensor([[[0, 1, 24]]])).tolist() == [[[0, 0, 23]]]


class Recites(torch.nn.Module):
    """Says the labels it is given in the red channel, U .5 and V .25 everywhere."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, picture):
        labels = ((picture[:, :1] + 1) * 127.5).round().long()
        out = torch.zeros(len(picture), LABELS + 48, *picture.shape[2:])
        out.scatter_(1, labels, 1.0)
        out[:, LABELS : LABELS + 24], out[:, LABELS + 24 :] = 0.5, 0.25
        return out


def test_figures_by_hand():
    truth = np.zeros((2, 1, 6, 3), np.uint8)
    truth[0, 0, :, 0] = 0, 0, 1, 1, 2, 2
    truth[1, 0, :, 0] = 0, 0, 0, 0, 1, 1
    truth[..., 1], truth[..., 2] = 255, 0
    found = truth.copy()
    found[0, 0, :, 0] = 0, 1, 1, 2, 2, 2
    error = error_of(Recites(), found, truth, batch=1)
    assert error.counts.sum() == 12
    parts = part_iou(error.counts)
    assert parts[:2].tolist() == [3 / 5, 2 / 3]
    assert np.isnan(parts[2:]).all()
    figures = summary(error)
    assert figures["part_iou"] == pytest.approx((3 / 5 + 2 / 3) / 2)
    assert figures["silhouette_iou"] == pytest.approx(6 / 7)
    assert figures["u_error"] == pytest.approx(0.5, abs=1 / 255)
    assert figures["v_error"] == pytest.approx(0.25, abs=1 / 255)


def test_the_network_keeps_size_and_budget():
    network = IuvNetwork(IuvConfig())
    assert sum(p.numel() for p in network.parameters()) < 1.1e6
    for size in ((160, 128), (64, 96)):
        made = network(to_picture(torch.zeros(2, 3, *size, dtype=torch.uint8)))
        logits, u, v = split_outputs(made)
        assert (logits.shape, u.shape, v.shape) == ((2, 25, *size), (2, 24, *size), (2, 24, *size))


def test_the_loss_falls_on_a_few_frames(shard, tmp_path):
    rgb, iuv = pairs_of(open_shard(shard))
    batch = {
        "frames": torch.from_numpy(np.array(rgb)).permute(0, 3, 1, 2),
        "labels": torch.from_numpy(np.array(iuv[..., 0])).long(),
        "uv": torch.from_numpy(np.array(iuv[..., 1:])).permute(0, 3, 1, 2).float() / 255,
    }
    torch.manual_seed(0)
    problem = IuvProblem(IuvNetwork(IuvConfig(64, 64, channels=(16, 24, 32))))
    settings = TrainingSettings(steps=120, batch_size=4, learning_rate=5e-3, warmup_steps=10)
    losses = [row["loss"] for row in train(problem, lambda _: batch, settings, tmp_path / "resume")]
    assert losses[-1] < 0.3 * losses[0]


def test_train_and_evaluate(shard, tmp_path):
    weights, metrics = tmp_path / "iuv", tmp_path / "metrics.json"
    given = ("--data", shard, "--validation", shard, "--steps", 2, "--batch-size", 2)
    assert run("train-iuv", *given, "--out", weights) == 0
    assert IuvNetwork.load(weights).size == (64, 64)
    names = {path.name for path in weights.iterdir()}
    assert names == {"config.json", "diffusion_pytorch_model.safetensors", "training"}
    assert run("evaluate-iuv", "--weights", weights, "--data", shard, "--out", metrics) == 0
    figures = json.loads(metrics.read_text())
    assert (figures["data"], figures["frames"]) == ("training", 4)
    for kind in ("clean", "degraded"):
        assert 0 <= figures[kind]["part_iou"] <= 1
        assert set(figures[kind]["per_part"]) == {str(part) for part in range(1, 25)}


def test_a_folder_that_is_no_shard_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a shard"):
        open_shard(tmp_path)


def test_frames_that_do_not_fit_are_refused(tmp_path, capsys):
    plan = plan_dataset([0], clips_per_subject=1, frames_per_clip=2, height=64, width=48)
    render_dataset(tmp_path / "shard", plan, workers=1)
    given = ("--data", tmp_path / "shard", "--validation", tmp_path / "shard", "--steps", 1)
    assert run("train-iuv", *given, "--out", tmp_path / "iuv") == 2
    assert "multiples of 32" in capsys.readouterr().err
    assert not (tmp_path / "iuv").exists()
