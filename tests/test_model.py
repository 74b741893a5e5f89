"""The model against the paper's formulas, worked out by hand or in float64, and its contracts."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModel

from common.errors import InputError
from common.settings import Sampling
from dreampose_core.adapter import EmbeddingAdapter
from dreampose_core.autoencoder import start_from_pca
from dreampose_core.conditioning import Condition, Conditioning, prior_prediction, rows
from dreampose_core.guidance import branch_weights, dual_guidance
from dreampose_core.model import build, from_stable_diffusion, load
from dreampose_core.pipeline import DreamPosePipeline, Reference
from dreampose_core.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    clip_pixels,
    decode,
    encode,
    to_frames,
    to_tensor,
)
from dreampose_core.posemaps import part_maps, uv_maps, window_indices, windows
from dreampose_core.scene import SCHEDULERS, change_scheduler
from dreampose_core.unet import widen_conv_in

pytestmark = pytest.mark.usefixtures("one_thread")

ARCHITECTURES = Path(__file__).parents[1] / "presets/architectures"
TINY, MINI = ARCHITECTURES / "tiny.json", ARCHITECTURES / "mini.json"
COMPONENTS = ("vae", "image_encoder", "adapter", "unet", "conditioning")
strengths = st.floats(-10, 10)


def awake(architecture: Path, seed: int = 0) -> DreamPosePipeline:
    """A random model that also listens to what starts at zero: pose channels and VAE tokens."""
    model = build(architecture, seed)
    with torch.no_grad():
        for weight in (model.unet.conv_in.weight, model.adapter.linear1.weight):
            weight += 0.1 * torch.randn(weight.shape)
        model.conditioning.variance.uniform_(0.1, 0.9)
    return model


@pytest.fixture(scope="module", params=[TINY, MINI], ids=["tiny", "mini"])
def model(request) -> DreamPosePipeline:
    return awake(request.param)


def clip(model: DreamPosePipeline, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures and IUV of a figure that moves right, at the model's size."""
    height, width = model.conditioning.config.height, model.conditioning.config.width
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (count, height, width, 3), np.uint8)
    iuv = np.zeros_like(rgb)
    ramp = np.linspace(0, 255, height // 2).astype(np.uint8)
    for t in range(count):
        left = width // 4 + t
        body = iuv[t, height // 4 : height // 4 + height // 2, left : left + width // 3]
        body[..., 0], body[..., 1], body[..., 2] = 2, 20 * t, ramp[:, None]
    return rgb, iuv


def look(model: DreamPosePipeline, count: int = 3) -> tuple[Reference, Condition]:
    rgb, iuv = clip(model, count)
    reference = model.look(rgb[0], iuv[0])
    return reference, model.pose(reference, iuv)


def states(model: DreamPosePipeline) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name in COMPONENTS
        for key, value in getattr(model, name).state_dict().items()
    }


class TestAdapter:
    def test_agrees_with_float64(self):
        torch.manual_seed(0)
        adapter = EmbeddingAdapter(latent_cells=6, latent_channels=3, image_tokens=5, width=8)
        torch.nn.init.normal_(adapter.linear1.weight)
        torch.nn.init.normal_(adapter.linear1.bias)
        tokens, latents = torch.randn(2, 5, 8), torch.randn(2, 3, 4, 6)
        said = adapter(tokens, latents).detach().numpy()

        weights = {k: v.double().numpy() for k, v in adapter.state_dict().items()}
        cells = latents.double().numpy().reshape(2, 3, 2, 2, 3, 2).max((3, 5)).reshape(2, 3, 6)
        vae_tokens = cells @ weights["vae2clip.weight"].T + weights["vae2clip.bias"]
        both = np.concatenate([tokens.double().numpy(), vae_tokens], 1)
        mixed = np.einsum("ot,btw->bow", weights["linear1.weight"], both)
        expected = mixed + weights["linear1.bias"][:, None]
        np.testing.assert_allclose(said, expected, atol=1e-5)

    def test_starts_as_clip(self):
        adapter = EmbeddingAdapter(latent_cells=6, latent_channels=4, image_tokens=5, width=8)
        tokens = torch.randn(2, 5, 8)
        assert torch.equal(adapter(tokens, 100 * torch.randn(2, 4, 4, 6)), tokens)

    def test_keys_and_shapes_are_the_published_ones(self):
        shapes = {name: tuple(v.shape) for name, v in EmbeddingAdapter().state_dict().items()}
        assert shapes == {
            "vae2clip.weight": (768, 1280),
            "vae2clip.bias": (768,),
            "linear1.weight": (50, 54),
            "linear1.bias": (50,),
        }


def test_widening_changes_nothing_until_trained():
    torch.manual_seed(0)
    spec = json.loads(TINY.read_text())["unet"]
    unet = UNet2DConditionModel(**spec).eval()
    weight, bias = unet.conv_in.weight.detach().clone(), unet.conv_in.bias.detach().clone()
    noisy, extra, tokens = torch.randn(2, 4, 8, 6), torch.randn(2, 10, 8, 6), torch.randn(2, 5, 16)
    with torch.no_grad():
        before = unet(noisy, 7, tokens).sample
        widen_conv_in(unet, 10)
        after = unet(torch.cat([noisy, extra], 1), 7, tokens).sample
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    assert torch.equal(unet.conv_in.weight[:, :4], weight)
    assert not unet.conv_in.weight[:, 4:].any()
    assert torch.equal(unet.conv_in.bias, bias)
    assert bias.any()
    assert unet.config.in_channels == 14


def test_a_stable_diffusion_folder_becomes_a_dreampose_model(tmp_path):
    torch.manual_seed(0)
    spec = json.loads(TINY.read_text())
    plain = UNet2DConditionModel(**spec["unet"])
    plain.save_pretrained(tmp_path / "sd/unet")
    vae = {k: v for k, v in spec["vae"].items() if k != "class"}
    AutoencoderKL(**vae).save_pretrained(tmp_path / "sd/vae")
    PNDMScheduler().save_pretrained(tmp_path / "sd/scheduler")
    CLIPVisionModel(CLIPVisionConfig(**spec["image_encoder"])).save_pretrained(tmp_path / "clip")

    model = from_stable_diffusion(str(tmp_path / "sd"), None, str(tmp_path / "clip"))
    assert model.conditioning.extra_channels == 10
    assert model.adapter.vae2clip.in_features == 1280
    assert torch.equal(model.unet.conv_in.weight[:, :4], plain.conv_in.weight)
    assert torch.equal(model.unet.conv_in.bias, plain.conv_in.bias)
    model.save_pretrained(tmp_path / "model")
    assert torch.equal(
        states(load(str(tmp_path / "model")))["unet.conv_in.weight"], model.unet.conv_in.weight
    )


class TestGuidance:
    nothing, image, both = torch.randn(3, 2, 4, 5, 6, dtype=torch.float64).unbind()

    def test_identities(self):
        def guided(s1, s2):
            return dual_guidance(self.nothing, self.image, self.both, s1, s2)

        torch.testing.assert_close(guided(1, 1), self.both)
        torch.testing.assert_close(guided(1, 0), self.image)
        assert torch.equal(guided(0, 0), self.nothing)

    @given(strengths, strengths, strengths, strengths)
    def test_straight_in_both_strengths(self, a1, a2, b1, b2):
        def guided(s1, s2):
            return dual_guidance(self.nothing, self.image, self.both, s1, s2)

        middle = guided((a1 + b1) / 2, (a2 + b2) / 2)
        torch.testing.assert_close((guided(a1, a2) + guided(b1, b2)) / 2, middle)

    @given(strengths, strengths)
    def test_branch_weights_are_the_same_formula(self, s1, s2):
        weights = branch_weights(s1, s2)
        branches = (self.nothing, self.image, self.both)
        mixed = sum(w * b for w, b in zip(weights, branches, strict=True))
        torch.testing.assert_close(mixed, dual_guidance(*branches, s1, s2))
        assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("s1", "s2", "branches"),
    [(1, 1, 1), (1, 0, 1), (0, 0, 1), (2, 2, 2), (2, 0, 2), (1, 3, 2), (0, 2, 3), (4, 3, 3)],
)
def test_guided_skips_what_weighs_nothing(model, monkeypatch, s1, s2, branches):
    reference, condition = look(model)
    count = len(condition.uv)
    noisy, time = torch.randn(count, *model.initial_noise(0).shape[1:]), torch.tensor(500)
    predict, asked = model.predict, []

    def branch(image, pose):
        tokens = reference.tokens if image else reference.null_tokens
        keep = torch.full((count,), float(image)), torch.full((count,), float(pose))
        tokens = tokens.expand(count, -1, -1)
        return predict(noisy, time.expand(count), tokens, condition, *keep)

    def counted(noisy, *rest):
        asked.append(len(noisy))
        return predict(noisy, *rest)

    with torch.no_grad():
        full = dual_guidance(branch(0, 0), branch(1, 0), branch(1, 1), s1, s2)
        monkeypatch.setattr(model, "predict", counted)
        said = model.guided(noisy, time, reference, condition, s1, s2)
    assert asked == [branches * count]
    torch.testing.assert_close(said, full, atol=2e-4, rtol=1e-4)


class TestNullConditions:
    def test_are_zeros_by_sample(self):
        conditioning = Conditioning(
            height=32, width=24, latent_channels=3, parts=True, warp=True, chart="mannequin"
        )
        sizes = {"uv": 10, "parts": 108, "warped": 3, "classes": 16}
        full = Condition(**{name: torch.rand(3, n, 4, 3) + 0.1 for name, n in sizes.items()})
        image, pose = torch.tensor([1.0, 0, 1]), torch.tensor([1.0, 1, 0])
        channels = conditioning.channels(full, image, pose)
        assert channels.shape[1] == conditioning.extra_channels == sum(sizes.values())
        uv, parts, warped, classes = channels.split(list(sizes.values()), 1)
        assert torch.equal(channels[0], torch.cat([getattr(full, name)[0] for name in sizes]))
        assert torch.equal(uv[1], full.uv[1])
        assert torch.equal(parts[1], full.parts[1])
        assert not warped[1].any()
        assert not classes[1].any()
        assert not channels[2].any()

    def test_dropped_picture_leaves_no_trace_in_the_tokens(self, model):
        rgb, _ = clip(model, 2)
        with torch.no_grad():
            kept = model.tokens(to_tensor(rgb), torch.ones(2))
            mixed = model.tokens(to_tensor(rgb), torch.tensor([0.0, 1]))
            zeros = torch.zeros(
                1, model.conditioning.config.latent_channels, *model.conditioning.grid
            )
            null = model.adapter(torch.zeros_like(kept[:1]), zeros)
        torch.testing.assert_close(mixed[:1], null)
        torch.testing.assert_close(mixed[1], kept[1])
        assert (kept[0] - kept[1]).abs().max() > 1e-3
        reference, _ = look(model)
        torch.testing.assert_close(reference.null_tokens, null)

    def test_the_prior_of_a_dropped_condition_changes_nothing(self):
        conditioning = Conditioning(latent_channels=2, parts=True, warp=True, prior=True)
        conditioning.variance.data.fill_(0.1)
        condition = Condition(*(torch.rand(3, n, 4, 3) for n in (10, 108, 2, 16)))
        output, noisy = torch.randn(2, 3, 2, 4, 3)
        alpha = torch.full((3, 1, 1, 1), 0.6)
        keep = torch.tensor([1.0, 0, 1]), torch.tensor([1.0, 1, 0])
        said = conditioning.complete(output, noisy, condition, alpha, 4 / 3 * alpha, *keep)
        torch.testing.assert_close(said[1:], output[1:])
        assert (said[0] - output[0]).abs().max() > 0.1


class TestPoseMaps:
    def test_windows_are_true_neighbours_clamped_at_the_ends(self):
        expected = [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]
        assert window_indices(4, 5).tolist() == expected
        assert window_indices(1, 5).tolist() == [[0] * 5]

        iuv = np.zeros((4, 16, 16, 3), np.uint8)
        iuv[..., 0] = 1
        iuv[..., 1] = np.array([10, 20, 30, 40])[:, None, None]
        iuv[..., 2] = iuv[..., 1] + 5
        uv = Conditioning(height=16, width=16).pose(iuv).uv
        assert uv.shape == (4, 10, 2, 2)
        for t, around in enumerate(expected):
            values = [v for i in around for v in (10 * (i + 1), 10 * (i + 1) + 5)]
            np.testing.assert_allclose(255 * uv[t, :, 0, 0], values, rtol=1e-6)

    def test_window_of_one_is_the_frame(self):
        maps = torch.rand(3, 2, 4, 4)
        assert torch.equal(windows(maps, 1), maps)

    @given(arrays(np.uint8, (2, 8, 6, 3)))
    def test_uv_is_unit_and_0_on_the_background(self, iuv):
        iuv[..., 0] %= 25
        uv = uv_maps(iuv).numpy()
        body = iuv[..., 0] > 0
        assert uv.min() >= 0
        assert uv.max() <= 1
        assert not uv.transpose(0, 2, 3, 1)[~body].any()
        np.testing.assert_allclose(
            255 * uv.transpose(0, 2, 3, 1)[body], iuv[body][:, 1:], rtol=1e-6
        )

    def test_the_grid_takes_means(self):
        iuv = np.random.default_rng(0).integers(1, 25, (1, 32, 24, 3), np.uint8)
        uv = Conditioning(height=32, width=24, pose_window=1).pose(iuv).uv[0]
        blocks = iuv[0, ..., 1:].astype(float).reshape(4, 8, 3, 8, 2).mean((1, 3)) / 255
        np.testing.assert_allclose(uv, blocks.transpose(2, 0, 1), rtol=1e-5)

    def test_legacy_range(self):
        iuv = clip(build(TINY), 2)[1]
        size = {"height": 64, "width": 48}
        unit = Conditioning(**size).pose(iuv).uv
        symmetric = Conditioning(**size, pose_range="symmetric").pose(iuv).uv
        torch.testing.assert_close(symmetric, 2 * unit - 1)

    def test_part_maps_cell_by_cell(self):
        iuv = np.random.default_rng(1).integers(0, 25, (1, 16, 24, 3), np.uint8)
        iuv[0, :8, :8, 0] = 0
        maps = part_maps(iuv, (2, 3)).numpy()[0].reshape(27, 2, 2, 2, 3)
        for row, column in np.ndindex(4, 6):
            block = iuv[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(16, 3)
            part, uv = block[:, 0], block[:, 1:] / 255 * (block[:, :1] > 0)
            shares = np.bincount(part, minlength=25) / 16
            expected = [*shares, *(uv.mean(0) / (1 - shares[0] + 1e-3))]
            said = maps[:, row % 2, column % 2, row // 2, column // 2]
            np.testing.assert_allclose(said, expected, atol=1e-5)


class TestPrior:
    @given(st.floats(0, math.pi / 2), st.floats(0.01, 2), st.floats(-3, 3), st.floats(-4, 4))
    def test_is_the_gaussian_posterior(self, angle, variance, centre, noisy):
        alpha, sigma = math.cos(angle), math.sin(angle)
        mix = np.array([[alpha, sigma], [-sigma, alpha]])  # (z, ε) to (x, v)
        covariance = mix @ np.diag([variance, 1]) @ mix.T
        mean_x, mean_v = mix @ [centre, 0]
        gain = covariance[1, 0] / covariance[0, 0]
        expected = mean_v + gain * (noisy - mean_x)
        left = max(0.0, covariance[1, 1] - gain * covariance[0, 1])

        values = (torch.tensor(v, dtype=torch.float64) for v in (noisy, centre, variance))
        given_ = (torch.tensor(v, dtype=torch.float64) for v in (alpha, sigma))
        mean, deviation = prior_prediction(*values, *given_)
        assert mean.item() == pytest.approx(expected, abs=1e-9)
        assert deviation.item() == pytest.approx(math.sqrt(left), abs=1e-6)

    def test_variance_is_the_shares_mix(self):
        conditioning = Conditioning(latent_channels=2, warp=True, prior=True)
        table = torch.tensor([[0.5, 1.0], [0.2, 0.3], [0.0, 0.1], [0.9, 2.0]])
        conditioning.variance.data.copy_(table)
        shares = torch.rand(3, 4, 4, 5, 6)  # of class, sub-cell
        shares /= shares.sum(1, keepdim=True)
        shares[0] = torch.tensor([0, 0, 1, 0]).view(4, 1, 1, 1)
        condition = Condition(torch.zeros(3, 10, 5, 6), classes=shares.flatten(1, 2))
        said = conditioning.prior_variance(condition)
        expected = np.einsum("bkqhw,kc->bchw", shares.numpy() / 4, table.numpy())
        np.testing.assert_allclose(said[1:], expected[1:], rtol=1e-5)
        assert said[0, 1].unique().item() == pytest.approx(0.1)
        assert 0 < said[0, 0].max() < 0.01

    def test_stays_on_the_device_of_the_latents(self):
        conditioning = Conditioning(latent_channels=2, warp=True, prior=True)
        classes = torch.empty(1, 16, 5, 6, device="meta")
        condition = Condition(torch.empty(1, 10, 5, 6, device="meta"), classes=classes)
        assert conditioning.prior_variance(condition).device.type == "meta"

    def test_a_sure_warp_needs_no_network(self):
        model = build(MINI)
        torch.nn.init.zeros_(model.unet.conv_out.weight)
        torch.nn.init.zeros_(model.unet.conv_out.bias)
        model.conditioning.variance.data.zero_()
        reference, condition = look(model, 2)
        noise = model.initial_noise(0).expand(2, -1, -1, -1)
        said = model.denoise(noise, reference, condition, Sampling(steps=4))
        error = (said - condition.warped).abs().mean()
        assert error < 0.1 * (noise - condition.warped).abs().mean()


class TestSampling:
    def test_one_pose_gives_one_frame(self, model):
        rgb, iuv = clip(model, 1)
        reference = model.look(rgb[0], iuv[0])
        condition = model.pose(reference, iuv.repeat(3, 0))
        frames = model(reference, condition, Sampling(steps=2, s1=2, s2=3))
        assert np.ptp(frames.astype(int), axis=0).max() <= 1
        assert frames.std() > 1

    def test_frames_do_not_depend_on_their_batch(self, model):
        reference, condition = look(model, 5)
        settings = Sampling(steps=3, s1=2, s2=3)
        noise = model.initial_noise(0)
        whole = model.denoise(noise.expand(5, -1, -1, -1), reference, condition, settings)
        alone = torch.cat(
            [
                model.denoise(noise, reference, rows(condition, slice(t, t + 1)), settings)
                for t in range(5)
            ]
        )
        torch.testing.assert_close(alone, whole, atol=1e-3, rtol=1e-3)
        assert (whole[0] - whole[4]).abs().max() > 0.01

    def test_frames_come_from_the_scaled_noise_of_the_seed(self, model):
        reference, condition = look(model, 2)
        frames = model(reference, condition, Sampling(steps=1, seed=4, noise_scale=0.5))
        noise = 0.5 * model.initial_noise(4).expand(2, -1, -1, -1)
        latents = model.denoise(noise, reference, condition, Sampling(steps=1))
        assert np.array_equal(frames, to_frames(model.drawn(latents, condition)))

    def test_the_seed_decides_the_noise(self, model):
        noise = model.initial_noise(3)
        torch.manual_seed(5)
        assert torch.equal(noise, model.initial_noise(3))
        assert not torch.equal(noise, model.initial_noise(4))
        grid = model.conditioning.grid
        assert noise.shape == (1, model.conditioning.config.latent_channels, *grid)

    @pytest.mark.parametrize("name", ["base", *SCHEDULERS])
    def test_a_perfect_network_is_followed(self, model, monkeypatch, name):
        """Predictions that all point at one latent end there, whatever the scheduler."""
        velocity = model.scheduler.config.prediction_type == "v_prediction"
        if velocity and name == "pndm":
            pytest.skip("diffusers' PNDM averages velocities of several times: not exact")
        if name != "base":
            monkeypatch.setattr(model, "scheduler", change_scheduler(model.scheduler, name))
        noise, clean = torch.randn(2, *model.initial_noise(0).shape)

        def guided(noisy, time, *_):
            squared = model.scheduler.alphas_cumprod[int(time)].double()
            alpha, sigma = squared.sqrt(), (1 - squared).sqrt()
            if velocity:  # the part of noisy that is not clean, turned by a right angle
                return (alpha * noisy.double() - clean).div(sigma).float()
            return ((noisy.double() - alpha * clean) / sigma).float()

        monkeypatch.setattr(model, "guided", guided)
        said = model.denoise(noise, None, None, Sampling(steps=6))
        assert clean.abs().max() > 2
        assert (said - clean).abs().max() < 0.2
        assert (said - clean).square().mean() < 3e-3


class TestFolders:
    def test_round_trip(self, model, tmp_path):
        model.save_pretrained(tmp_path / "model")
        again = load(str(tmp_path / "model"))
        before, after = states(model), states(again)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert (
            dict(again.conditioning.config).items()
            >= {k: v for k, v in model.conditioning.config.items() if not k.startswith("_")}.items()
        )
        assert type(again.scheduler) is type(model.scheduler)
        settings = Sampling(steps=2, s1=2, s2=2)
        assert np.array_equal(model(*look(model), settings), again(*look(again), settings))

    def test_the_seed_decides_every_weight(self):
        first = states(build(TINY, 7))
        torch.randn(5)
        again, other = states(build(TINY, 7)), states(build(TINY, 8))
        assert all(torch.equal(first[name], again[name]) for name in first)
        drawn = [name for name in first if first[name].float().std() > 0 and "norm" not in name]
        kept = [name for name in drawn if torch.equal(first[name], other[name])]
        assert set(kept) == {"adapter.linear1.weight"} | {k for k in kept if "position_ids" in k}

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"conditioning": {"size": 3}}'])
    def test_a_file_that_is_no_architecture(self, tmp_path, text):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError):
            load(str(tmp_path / "bad.json"))

    def test_no_model_there(self, tmp_path):
        for source in (tmp_path, tmp_path / "missing", tmp_path / "missing.json"):
            with pytest.raises(InputError):
                load(str(source))


class TestPixels:
    def test_every_grey_survives(self):
        flat = np.arange(256, dtype=np.uint8)[:, None, None, None].repeat(3, 3).repeat(4, 2)
        assert np.array_equal(to_frames(to_tensor(flat)), flat)
        assert to_tensor(flat).min() == -1
        assert to_tensor(flat).max() == 1

    def test_clamped_and_never_stretched(self):
        values = torch.tensor([-5.0, -1, -0.5, 0.5, 1, 5]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
        assert to_frames(values)[0, 0, :, 0].tolist() == [0, 0, 64, 191, 255, 255]
        faint = np.random.default_rng(0).integers(120, 126, (2, 5, 4, 3), np.uint8)
        assert np.array_equal(to_frames(to_tensor(faint)), faint)

    def test_latents_are_the_scaled_mode(self):
        vae = build(TINY).vae
        images = torch.rand(2, 3, 64, 48) * 2 - 1
        with torch.no_grad():
            latents = encode(vae, images)
            mean = vae.encode(images).latent_dist.mean
            assert torch.equal(latents, encode(vae, images))
            torch.testing.assert_close(latents, 0.18215 * mean)
            torch.testing.assert_close(decode(vae, 0.18215 * mean), vae.decode(mean).sample)

    @pytest.mark.parametrize("size", [(64, 48), (40, 90), (33, 32)])
    def test_clip_sees_what_its_own_processor_shows(self, size):
        smooth = np.random.default_rng(0).integers(40, 216, (4, 4, 3), np.uint8)
        picture = Image.fromarray(smooth).resize(size[::-1], Image.Resampling.BICUBIC)
        said = clip_pixels(to_tensor(np.array(picture)[None]), 32)[0].permute(1, 2, 0).numpy()
        scale = 32 / min(size)
        resized = picture.resize(
            (round(size[1] * scale), round(size[0] * scale)), Image.Resampling.BICUBIC
        )
        left, top = (resized.width - 32) // 2, (resized.height - 32) // 2
        cut = np.asarray(resized.crop((left, top, left + 32, top + 32))) / 255
        expected = (cut - CLIP_MEAN) / CLIP_STD
        np.testing.assert_allclose(said, expected, atol=1.5 / 255 / min(CLIP_STD))


def test_the_autoencoder_starts_as_the_patch_pca():
    """The reconstruction of an SVD over 8×8 patches with as many components as latents."""
    spec = json.loads(MINI.read_text())["vae"]
    torch.manual_seed(0)
    vae = AutoencoderDC(**{k: v for k, v in spec.items() if k != "class"}).eval()
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (12, 8, 7, 3), np.uint8)
    smooth = [Image.fromarray(c).resize((48, 64), Image.Resampling.BICUBIC) for c in coarse]
    grain = random.normal(0, 8, (12, 64, 48, 3))
    images = to_tensor((np.stack(smooth) + grain).clip(0, 255).astype(np.uint8))
    start_from_pca(vae, images)
    with torch.no_grad():
        latents = encode(vae, images)
        said = decode(vae, latents).permute(0, 2, 3, 1).numpy()

    patches = images.double().permute(0, 2, 3, 1).numpy().reshape(12, 8, 8, 6, 8, 3)
    patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(12 * 8 * 6, -1)
    mean = patches.mean(0)
    _, _, axes = np.linalg.svd(patches - mean, full_matrices=False)
    axes = axes[: latents.shape[1]]
    expected = (patches - mean) @ axes.T @ axes + mean
    expected = expected.reshape(12, 8, 6, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5)
    expected = expected.reshape(said.shape)
    # The last RMS norm shrinks a 2×2 block of 12 values by 12/√(144 + their squares' sum).
    assert (np.abs(said - expected) <= 0.04 * np.abs(expected) + 1e-4).all()
    assert np.abs(images.permute(0, 2, 3, 1).numpy() - expected).mean() > 0.03
    strong = latents.transpose(0, 1).flatten(1)[:8]
    torch.testing.assert_close(strong.std(1), torch.ones(8), atol=0.01, rtol=0)
