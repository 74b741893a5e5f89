"""The benchmark: its faults are the published ones, its figures are right, it runs end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import InputError
from common.files import folder_hash
from common.program import main
from common.settings import Sampling
from common.shards import open_shard
from dreampose_core import benchmark as frames_of
from dreampose_core import benchmark_table, faults
from dreampose_core.__main__ import VERBS
from dreampose_core.backdrop import backdrop, settled, without_halos
from dreampose_core.benchmark_table import TrueClip, person_mask
from dreampose_core.model import build, load
from dreampose_core.pixels import to_frames
from dreampose_core.subject import Clip, encoded_pairs
from mannequin.dataset import plan_dataset, render_dataset
from mannequin.split import BENCHMARK

pytestmark = pytest.mark.usefixtures("one_thread", "little_garbage")

MINI = Path(__file__).parents[1] / "presets/architectures/mini.json"
FRAMES = 3


def run(verb: str, *arguments: object) -> int:
    return main("dreampose_core", VERBS, [verb, *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A benchmark shard of one subject: photos, and one motion to be put into."""
    folder = tmp_path_factory.mktemp("benchmark") / "data"
    plan = plan_dataset([300_000], motions=[400_000, 400_001], frames_per_clip=FRAMES)
    render_dataset(folder, plan, 1)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The architecture of `mini` with random weights."""
    folder = tmp_path_factory.mktemp("benchmark") / "model"
    build(MINI).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(data) -> Clip:
    shard = open_shard(data)
    return Clip(np.array(shard.rgb[0, 0]), np.array(shard.iuv[0, 0]))


class TestData:
    def test_every_subject_is_seen_in_the_motions_asked_for(self, data):
        meta = open_shard(data).meta
        assert meta["split"] == "benchmark"
        assert meta["motions"] == [[400_000, 400_001]]
        assert meta["families"] == [["showcase", "showcase"]]

    def test_motions_of_another_split_are_refused(self):
        with pytest.raises(InputError, match="motion 300000 is not of the split"):
            plan_dataset([BENCHMARK.subjects[0]], motions=[300_000])


class TestFaults:
    def test_without_faults_it_is_the_pipeline(self, model, clip):
        loaded = load(str(model))
        reference = loaded.look(clip.frames[0], clip.iuv[0])
        condition = loaded.pose(reference, clip.iuv)
        settings = Sampling(steps=2, noise_scale=0.5, settle=20)
        own = loaded(reference, condition, settings)
        none = faults.SamplingFaults()
        assert (faults.faulty_frames(loaded, reference, condition, settings, none) == own).all()
        for name in ("noised_reference", "range_mix_up", "stretch"):
            one = faults.SamplingFaults(**{name: True})
            made = faults.faulty_frames(loaded, reference, condition, settings, one)
            assert (made != own).any(), name

    def test_frames_are_stretched_one_by_one(self):
        images = torch.zeros(2, 3, 4, 4)
        images[0, 0, 0, 0], images[1, 1, 2, 2] = 0.5, -0.25
        made = to_frames(faults.stretched(images))
        assert made.reshape(2, -1).min(1).tolist() == [0, 0]
        assert made.reshape(2, -1).max(1).tolist() == [255, 255]
        assert made[0, 0, 0, 0] == 255
        assert made[1, 0, 0, 0] == 255

    def test_the_target_is_the_reference(self, model, clip):
        loaded = load(str(model))
        pool = faults.target_is_reference(loaded, clip, pairs=2 * FRAMES, seed=0)
        assert (pool["latents"] == pool["reference_latents"]).all()
        uv = loaded.conditioning.pose(clip.iuv).uv
        for index in range(FRAMES):
            assert (pool["uv"][2 * index : 2 * index + 2] == uv[index]).all()
        ours = encoded_pairs(loaded, clip, 2 * FRAMES, 0)
        assert (ours["latents"] != ours["reference_latents"]).flatten(1).any(1).all()

    def test_the_pose_is_repeated(self):
        window = torch.arange(10.0).view(1, 10, 1, 1).expand(2, 10, 3, 3)
        pool = faults.repeated_pose({"uv": window, "latents": window})
        assert pool["uv"][0, :, 0, 0].tolist() == [4, 5] * 5
        assert pool["latents"] is window


class TestFigures:
    def test_a_shifted_backdrop_is_no_person(self):
        empty = np.full((40, 32, 3), 100, np.uint8)
        frames = np.repeat(empty[None], 2, 0)
        frames[:, 10:30, 10:20] = 200
        person = person_mask(frames, empty)
        assert person[0, 9:31, 9:21].all()
        assert not person[0, :5].any()
        brighter = frames + np.uint8(30)
        assert person_mask(brighter, empty).all()
        assert (person_mask(brighter, empty, person) == person).all()

    def test_the_truth_is_perfect_and_a_copy_is_not(self, data):
        true = TrueClip.of(open_shard(data), 0, 1)
        own = true.measure(true.frames, true.iuv, true.iuv)
        assert {row["psnr"] for row in own.frames} == {100}
        assert benchmark_table.pose_summary(own.asked)["part_iou"] == 1
        still = true.measure(np.repeat(true.frames[:1], FRAMES, 0))
        assert still.clips[0]["flicker"] == 0
        assert still.clips[0]["warped_difference"] > own.clips[0]["warped_difference"]
        assert still.frames[0]["psnr"] == 100 > still.frames[1]["psnr"]

    def test_the_way_by_hand(self):
        def row(level, method, psnr):
            views = {view: {"psnr": psnr, "frames": 1} for view in benchmark_table.VIEWS}
            return {"level": level, "method": method, "views": views}

        rows = [
            row("zero-shot", "surface-warp", 20),
            row("zero-shot", "round-trip", 30),
            row("zero-shot", "ours", 26),
            row("one-photo", "ours", 27),
        ]
        ways = benchmark_table._ways(rows)
        assert ways["zero-shot"]["front"] == pytest.approx(0.6)
        assert ways["one-photo"]["all"] == pytest.approx(0.7)


def test_what_hardly_differs_from_the_backdrop_becomes_it():
    empty = np.full((80, 64, 3), 120, np.uint8)
    frames = np.repeat(empty[None], 2, 0)
    frames[:, 20:60, 20:40] = 60
    frames[0, :10], frames[1, :10] = 124, 117
    frames[1, 70:] = 140
    nobody = np.zeros_like(empty)
    made = settled(frames, empty, nobody, 16)
    assert (made[:, :9] == 120).all()
    assert (made[:, 22:58, 22:38] == 60).all()
    assert (made[1, 72:] == 140).all()
    assert (settled(frames, empty, nobody, 1e-3)[:, 3] == frames[:, 3]).all()


def test_what_is_brighter_than_person_and_backdrop_becomes_backdrop():
    photo, iuv = np.full((80, 64, 3), 200, np.uint8), np.zeros((80, 64, 3), np.uint8)
    photo[20:60, 20:40], iuv[20:60, 20:40, 0] = 60, 2
    photo[20:22, 20:40] = 90
    frames = np.repeat(photo[None], 2, 0)
    frames[0, 30:50, 45:48], frames[1, 30:50, 22:24] = 255, 10
    frames[1, 10, 10] = 70
    made = without_halos(frames, photo, iuv, backdrop(photo, iuv))
    assert (made[0] == photo).all()
    assert (made[1, 30:50, 22:24] == 60).all()
    assert (made[1, 10, 10] == 70).all()
    assert (without_halos(frames, photo, 0 * iuv, photo) == frames).all()


def test_from_a_model_to_a_table(data, model, tmp_path, capsys):
    given = ("--model", model, "--data", data, "--workers", 1, "--steps", 1, "--noise-scale", 0)
    tuning = ("--finetune-steps", 1, "--finetune-batch", 2)
    levels = []
    for level in frames_of.NAMES:
        out = tmp_path / level
        assert run("benchmark", "--level", level, *given, *tuning, "--out", out) == 0
        levels.append(out)
        for name in frames_of.NAMES[level]:
            assert np.load(out / f"{name}.npy").shape == (1, 1, FRAMES, 160, 128, 3)
        assert not list(tmp_path.glob(".*"))
    own = np.load(levels[0] / "ours.npy")
    assert (np.load(levels[2] / "ours.npy") != own).any()
    assert run("benchmark-table", "--data", data, "--frames", *levels, "--out", tmp_path / "t") == 0
    figures = json.loads((tmp_path / "t/figures.json").read_text())
    assert figures["data"]["motions"] == [400_000, 400_001]
    assert figures["levels"]["five-frames"]["photos"] == [0, 0, 1, 2, 2]
    names = [(row["level"], row["method"]) for row in figures["rows"]]
    wanted = [(level, name) for level, slugs in frames_of.NAMES.items() for name in slugs]
    assert names == [("", "truth"), *wanted]
    copied = figures["rows"][1]
    assert copied["flicker"] == copied["colour_flicker"] == 0
    assert copied["views"]["all"]["frames"] == FRAMES
    table = (tmp_path / "t/table.md").read_text()
    assert "| zero-shot | ours |" in table
    assert table.strip() in capsys.readouterr().out
    assert (tmp_path / "t/curves.png").stat().st_size > 10_000
    sheets = sorted(p.name for p in (tmp_path / "t/sheets").iterdir())
    assert sheets == [f"{level}-300000.png" for level in sorted(frames_of.NAMES)]
    again = ("--data", data, "--frames", *levels, "--out", tmp_path / "u", "--workers", 1)
    assert run("benchmark-table", *again) == 0
    assert folder_hash(tmp_path / "t") == folder_hash(tmp_path / "u")


def test_what_cannot_be_measured_is_refused(data, model, tmp_path, capsys):
    given = ("--model", model, "--data", data, "--out", tmp_path / "out")
    assert run("benchmark", *given, "--methods", "magic") == 2
    assert "it has: copy" in capsys.readouterr().err
    small = plan_dataset([300_000], motions=[400_000, 400_001], frames_per_clip=2, height=64)
    render_dataset(tmp_path / "small", small, 1)
    assert run("benchmark", *given[:2], "--data", tmp_path / "small", *given[4:]) == 2
    assert "the model wants" in capsys.readouterr().err
    table = ("--data", data, "--frames", data, "--out", tmp_path / "table")
    assert run("benchmark-table", *table) == 2
    assert "python -m dreampose_core benchmark" in capsys.readouterr().err
