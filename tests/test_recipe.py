"""The recipe of the shipped weights on a shard of two subjects, step by step."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC

from common.errors import InputError
from common.files import folder_hash
from common.program import main
from common.settings import Sampling
from common.shards import Shard, open_shard, views
from densepose_prep.network import IuvConfig, IuvNetwork
from dreampose_core import draft_shard, train_autoencoder, train_base, train_detail
from dreampose_core.__main__ import VERBS
from dreampose_core.conditioning import Conditioning
from dreampose_core.detail import DetailNetwork
from dreampose_core.encode_shard import ARRAYS, pick_references
from dreampose_core.model import build, load
from dreampose_core.pixels import encode, to_frames, to_tensor
from dreampose_core.posemaps import part_maps
from dreampose_core.train_autoencoder import round_trip
from dreampose_core.train_base import BaseData, decoder_sensitivity, fit_prior
from dreampose_core.warp import warp
from mannequin.dataset import plan_dataset, render_dataset

pytestmark = pytest.mark.usefixtures("one_thread", "little_garbage")

MINI = Path(__file__).parents[1] / "presets/architectures/mini.json"
STEPS = ("--steps", 3, "--batch-size", 2, "--checkpoint-every", 2, "--warmup-steps", 0)


def run(verb: str, **arguments: object) -> int:
    named = [p for k, v in arguments.items() for p in (f"--{k.replace('_', '-')}", str(v))]
    return main("dreampose_core", VERBS, [verb, *named])


@pytest.fixture(scope="module", autouse=True)
def few_frames() -> Iterator[None]:
    """What is fitted and measured on hundreds of frames takes some here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_autoencoder, "_PCA_FRAMES", 24)
        patch.setattr(train_autoencoder, "_MEASURED_FRAMES", 2)
        patch.setattr(train_base, "_PRIOR_FRAMES", 16)
        patch.setattr(train_base, "_SENSITIVITY_FRAMES", 2)
        patch.setattr(train_base, "_MEASURED_FRAMES", 2)
        patch.setattr(train_detail, "_MEASURED_FRAMES", 2)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two shards, the PCA autoencoder and the encoded shards."""
    root = tmp_path_factory.mktemp("recipe")
    for name, subjects in (("train", range(2)), ("held", range(100_000, 100_001))):
        render_dataset(root / name, plan_dataset(subjects, frames_per_clip=3), workers=1)
    assert run("start-autoencoder", architecture=MINI, data=root / "train", out=root / "pca") == 0
    for name in ("train", "held"):
        given = {"data": root / name, "out": root / f"{name}-encoded"}
        assert run("encode-shard", architecture=MINI, vae=root / "pca", **given, workers=0) == 0
    return root


def base_arguments(made: Path) -> dict[str, object]:
    return {
        "architecture": MINI,
        "vae": made / "pca",
        "data": made / "train",
        "encoded": made / "train-encoded",
        "validation": made / "held",
        "validation_encoded": made / "held-encoded",
        **{k[2:].replace("-", "_"): v for k, v in zip(STEPS[::2], STEPS[1::2], strict=True)},
    }


def numbered(subjects: int, clips: int, count: int) -> BaseData:
    """Data whose every value says which frame it belongs to: 100·subject + 10·clip + frame."""
    index = np.indices((subjects, clips, count))
    number = np.tensordot([100, 10, 1], index, 1)
    spread = number[..., None, None, None]
    arrays = {name: np.broadcast_to(spread, (*number.shape, 2, 3, 4)) for name in ARRAYS[:-1]}
    reference = (index[2] + 1) % count
    rgb = np.broadcast_to(spread, (*number.shape, 4, 4, 3)).astype(np.uint8)
    shard = Shard(rgb, rgb, np.zeros(number.shape), {}, "")
    return BaseData(shard, {**arrays, "reference": reference}, 5)


class TestShards:
    def test_views_by_hand(self):
        degrees = np.array([0, 44, -44, 46, 90, -134, 136, 180, -180, 316, 360 + 170])
        said = views(np.radians(degrees)).tolist()
        front, side, back = ["front"], ["side"], ["back"]
        assert said == front * 3 + side * 3 + back * 3 + front + back

    def test_what_is_no_shard(self, tmp_path):
        with pytest.raises(InputError):
            open_shard(tmp_path)

    def test_rows_belong_together(self):
        data = numbered(2, 2, 4)
        rows = data.rows(np.array([1, 0]), np.array([0, 1]), np.array([0, 3]))
        for name in ("latents", "parts", "warped", "classes"):
            assert [row.unique().item() for row in rows[name]] == [100, 13]
        window = rows["uv"].view(2, 5, 2, 3, 4)[:, :, 0, 0, 0]
        assert window.tolist() == [[100, 100, 100, 101, 102], [11, 12, 13, 13, 13]]
        # Seen from the other clip: frame 1 of (1, 1), frame 0 of (0, 0).
        assert [row.unique().item() for row in rows["reference_latents"]] == [111, 0]
        assert to_frames(rows["pictures"])[:, 0, 0, 0].tolist() == [111, 0]

    def test_references_are_mostly_fronts(self):
        yaw = np.full((1, 2, 5), np.pi)
        yaw[0, 1, 3] = 0.1
        shard = SimpleNamespace(shape=(1, 2, 5), yaw=yaw)
        picked = np.stack([pick_references(shard, 0, seed) for seed in range(200)])
        assert picked.shape == (200, 2, 5)
        assert set(np.unique(picked)) <= set(range(5))
        of_first, of_second = (picked[:, clip] for clip in (0, 1))
        assert 0.3 < (of_first == 3).mean() < 0.65  # 0.7 for half of the frames, and by chance
        shares = np.bincount(of_second.ravel(), minlength=5) / of_second.size
        assert (np.abs(shares - 0.2) < 0.08).all()  # clip 0 shows no front
        assert np.array_equal(picked[7], pick_references(shard, 0, 7))
        assert len(np.unique(picked[:, 0], axis=0)) > 20


class TestEncoded:
    def test_arrays_are_what_the_model_would_compute(self, made):
        shard, conditioning = open_shard(made / "train"), build(MINI).conditioning
        vae = AutoencoderDC.from_pretrained(made / "pca").eval()
        arrays = {name: np.load(made / f"train-encoded/{name}.npy") for name in ARRAYS}
        assert arrays["latents"].shape == (2, 2, 3, 32, 20, 16)
        assert all(arrays[name].shape[:3] == shard.shape for name in ARRAYS)
        for s, c, t in ((0, 0, 0), (1, 0, 2), (1, 1, 1)):
            frame, iuv = shard.rgb[s, c, t], np.array(shard.iuv[s, c])
            other, seen = (c + 1) % 2, arrays["reference"][s, c, t]
            moved = warp(shard.rgb[s, other, seen], np.array(shard.iuv[s, other, seen]), [iuv[t]])
            classes = conditioning.class_maps(moved.shares)
            with torch.no_grad():
                latents = encode(vae, to_tensor(np.stack([frame, moved.frames[0]])))
            expected = {
                "latents": latents[0],
                "warped": latents[1],
                "classes": classes[0],
                "uv": Conditioning(height=160, width=128, pose_window=1).pose(iuv[t : t + 1]).uv[0],
                "parts": part_maps(iuv[t : t + 1], conditioning.grid)[0],
            }
            for name, value in expected.items():
                said = torch.from_numpy(arrays[name][s, c, t]).float()
                torch.testing.assert_close(said, value, atol=2e-3, rtol=2e-3)

    def test_some_subjects_only_and_twice_the_same(self, made, tmp_path):
        given = {"architecture": MINI, "vae": made / "pca", "data": made / "train", "workers": 0}
        for name in ("a", "b"):
            assert run("encode-shard", **given, out=tmp_path / name, subjects=1) == 0
        assert folder_hash(tmp_path / "a") == folder_hash(tmp_path / "b")
        for name in ARRAYS:
            few, all_ = (
                np.load(p / f"{name}.npy") for p in (tmp_path / "a", made / "train-encoded")
            )
            assert len(few) == 1
            np.testing.assert_allclose(few[0].astype(float), all_[0], atol=1e-2, rtol=1e-2)


class TestFits:
    def test_prior_finds_the_variances_of_the_classes(self):
        torch.manual_seed(0)
        table = torch.tensor([[0.1, 0.4], [0.3, 0.2], [0.05, 0.6], [0.9, 0.7]])
        shares = torch.rand(6, 4, 4, 5, 7)
        shares /= shares.sum(1, keepdim=True)
        variance = torch.einsum("bkqhw,kc->bchw", shares / 4, table)
        latents = torch.randn(6, 2, 5, 7)
        sign = torch.randn(6, 2, 5, 7).sign()
        said = fit_prior(latents + sign * variance.sqrt(), shares.flatten(1, 2), latents)
        torch.testing.assert_close(said, table, atol=1e-4, rtol=1e-3)

    def test_sensitivity_of_a_linear_decoder(self):
        gains = torch.tensor([1.0, 2.0, 0.5, 3.0])

        def linear(latents):
            return SimpleNamespace(sample=latents * gains.view(-1, 1, 1))

        vae = SimpleNamespace(decode=linear, config=SimpleNamespace(scaling_factor=1.0))
        said = decoder_sensitivity(vae, torch.randn(8, 4, 20, 20), torch.Generator().manual_seed(0))
        torch.testing.assert_close(said, gains**2 / (gains**2).mean(), atol=0, rtol=0.1)
        assert said.mean() == pytest.approx(1)


class TestAutoencoder:
    def test_the_start_reconstructs(self, made):
        vae = AutoencoderDC.from_pretrained(made / "pca").eval()
        frames = open_shard(made / "train").rgb[:, 0, 0]
        assert round_trip(vae, np.array(frames)) > 24

    def test_training_leaves_the_latents(self, made, tmp_path):
        given = {"vae": made / "pca", "data": made / "train", "validation": made / "held"}
        steps = {"steps": 2, "batch_size": 2}
        assert run("train-decoder", **given, **steps, out=tmp_path / "decoder") == 0
        before, after = (
            AutoencoderDC.from_pretrained(p).state_dict()
            for p in (made / "pca", tmp_path / "decoder")
        )
        changed = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
        assert changed == {"decoder"}
        figures = json.loads((tmp_path / "decoder/training/figures.json").read_text())
        assert figures["steps"] == 2
        assert figures["pca_psnr"] > 20


class TestBase:
    def test_a_whole_model_and_the_same_after_a_kill(self, made, tmp_path, monkeypatch):
        given = base_arguments(made)
        assert run("train-base", **given, out=tmp_path / "whole") == 0
        draw_noise, drawn = train_base.draw_noise, []

        def dying(*arguments, **more):
            drawn.append(1)
            if len(drawn) == 3:
                raise RuntimeError("killed")
            return draw_noise(*arguments, **more)

        monkeypatch.setattr(train_base, "draw_noise", dying)
        with pytest.raises(RuntimeError, match="killed"):
            run("train-base", **given, out=tmp_path / "again")
        assert not (tmp_path / "again").exists()
        assert run("train-base", **given, out=tmp_path / "again") == 0
        assert len(drawn) == 4
        assert folder_hash(tmp_path / "again") == folder_hash(tmp_path / "whole")

        model, fresh = load(str(tmp_path / "whole")), build(MINI)
        for name in ("unet", "adapter", "image_encoder"):
            state, start = getattr(model, name).state_dict(), getattr(fresh, name).state_dict()
            assert any(not state[key].equal(start[key]) for key in state)
        coder = AutoencoderDC.from_pretrained(made / "pca").state_dict()
        assert all(value.equal(coder[key]) for key, value in model.vae.state_dict().items())
        variance = model.conditioning.variance
        assert variance.shape == (4, 32)
        assert variance.min() >= 0
        assert not variance.equal(fresh.conditioning.variance)
        figures = json.loads((tmp_path / "whole/training/figures.json").read_text())
        assert figures["step"] == 3
        assert 0 < figures["psnr"] < 60
        assert (tmp_path / "whole/training/curves.png").stat().st_size

    def test_what_is_not_encoded_is_refused(self, made, tmp_path, capsys):
        given = base_arguments(made) | {"encoded": tmp_path}
        assert run("train-base", **given, out=tmp_path / "out") == 2
        assert "holds no encoded shard" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def drafted(made) -> Path:
    """A base, and what it and the autoencoder draw of both shards."""
    assert run("train-base", **base_arguments(made), out=made / "base") == 0
    for name in ("train", "held"):
        given = {"base": made / "base", "decoder": made / "pca", "data": made / name}
        assert run("draft-shard", **given, out=made / f"{name}-drafts", workers=1) == 0
    return made


class TestDetail:
    def arguments(self, drafted: Path) -> dict[str, object]:
        return {
            "architecture": MINI,
            "data": drafted / "train",
            "drafts": drafted / "train-drafts",
            "validation": drafted / "held",
            "validation_drafts": drafted / "held-drafts",
            "batch_size": 2,
            "checkpoint_every": 2,
            "warmup_steps": 0,
        }

    def test_drafts_are_what_the_model_draws(self, drafted):
        shard, model = open_shard(drafted / "train"), load(str(drafted / "base"))
        assert model.detail is None
        drafts, planes = (
            np.load(drafted / f"train-drafts/{name}.npy") for name in draft_shard.ARRAYS
        )
        assert drafts.shape == (2, 2, 3, 160, 128, 3)
        for s, c in ((0, 1), (1, 0)):
            seen = pick_references(shard, s, 0)[c, 0]
            picture, iuv = (np.array(part[s, 1 - c, seen]) for part in (shard.rgb, shard.iuv))
            reference = model.look(picture, iuv)
            condition = model.pose(reference, np.array(shard.iuv[s, c]))
            frames = model(reference, condition, Sampling(steps=1, noise_scale=0))
            assert np.abs(frames.astype(int) - drafts[s, c]).max() <= 1
            shown = np.concatenate([planes[s, c], shard.iuv[s, c]], -1).transpose(0, 3, 1, 2)
            assert np.array_equal(condition.pixels, shown)

    def test_drafts_do_not_depend_on_the_processes(self, drafted, tmp_path):
        given = {"base": drafted / "base", "decoder": drafted / "pca", "data": drafted / "train"}
        assert run("draft-shard", **given, out=tmp_path / "two", workers=2) == 0
        assert folder_hash(tmp_path / "two") == folder_hash(drafted / "train-drafts")

    def test_learns_and_the_same_after_a_kill(self, drafted, tmp_path, monkeypatch):
        given = self.arguments(drafted) | {"steps": 12, "learning_rate": 4e-3}
        assert run("train-detail", **given, out=tmp_path / "whole") == 0
        rows, drawn = train_detail.Drafts.rows, []

        def dying(*arguments):
            drawn.append(1)
            if len(drawn) == 9:
                raise RuntimeError("killed")
            return rows(*arguments)

        monkeypatch.setattr(train_detail.Drafts, "rows", dying)
        with pytest.raises(RuntimeError, match="killed"):
            run("train-detail", **given, out=tmp_path / "again")
        assert not (tmp_path / "again").exists()
        assert run("train-detail", **given, out=tmp_path / "again") == 0
        assert folder_hash(tmp_path / "again") == folder_hash(tmp_path / "whole")
        lines = (tmp_path / "whole/training/curves.tsv").read_text().splitlines()
        losses = [float(line.split("\t")[1]) for line in lines[1:]]
        assert np.mean(losses[-4:]) < np.mean(losses[:4])

    def test_what_holds_no_drafts_is_refused(self, drafted, tmp_path, capsys):
        given = self.arguments(drafted) | {"steps": 1, "drafts": tmp_path}
        assert run("train-detail", **given, out=tmp_path / "out") == 2
        assert "holds no drafts" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_an_architecture_without_one_is_refused(self, drafted, tmp_path, capsys):
        tiny = MINI.with_name("tiny.json")
        given = self.arguments(drafted) | {"steps": 1, "architecture": tiny}
        assert run("train-detail", **given, out=tmp_path / "out") == 2
        assert "no detail network" in capsys.readouterr().err

    def test_promoted_with_the_rest(self, drafted, tmp_path):
        given = self.arguments(drafted) | {"steps": 2}
        assert run("train-detail", **given, out=tmp_path / "detail") == 0
        steps = {"data": drafted / "train", "validation": drafted / "held", "steps": 1}
        coder = {"vae": drafted / "pca", "out": tmp_path / "decoder", "batch_size": 2}
        assert run("train-decoder", **steps, **coder) == 0
        parts = {name: tmp_path / name for name in ("detail", "decoder")}
        iuv = tmp_path / "iuv"
        IuvNetwork(IuvConfig()).save(iuv)
        (iuv / "training").mkdir()
        out = tmp_path / "model"
        curves = tmp_path / "curves"
        assert run("promote", base=drafted / "base", **parts, iuv=iuv, out=out, curves=curves) == 0
        made = load(str(out)).detail.state_dict()
        for name, value in DetailNetwork.from_pretrained(parts["detail"]).state_dict().items():
            torch.testing.assert_close(made[name], value, atol=1e-3, rtol=1e-3)
        assert IuvNetwork.load(out / "iuv")
        assert json.loads((out / "provenance.json").read_text()).keys() == {
            *("base", "decoder", "detail", "iuv")
        }
        assert (curves / "detail/curves.tsv").stat().st_size
