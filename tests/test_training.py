"""The one loop on toy problems, and the denoising problem against its formulas."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from common.errors import InputError
from common.images import read_png
from common.settings import NoiseSettings, TrainingSettings
from common.training import (
    Batch,
    learning_rate,
    resume_folder,
    share,
    step_generator,
    train,
    write_curves,
)
from dreampose_core.denoising import DenoisingProblem, draw_noise
from dreampose_core.model import build

pytestmark = pytest.mark.usefixtures("one_thread", "little_garbage")

TINY = Path(__file__).parents[1] / "presets/architectures/tiny.json"
SHORT = TrainingSettings(
    steps=10, batch_size=8, learning_rate=0.05, warmup_steps=2, ema_decay=0.9, checkpoint_every=3
)
SLOPES = torch.tensor([[2.0, -1.0, 0.5]])


class Line(nn.Module):
    """Least squares of two layers and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.frozen = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(1, 1)
        self.frozen.requires_grad_(False)

    def forward(self, batch: Batch) -> Tensor:
        return (self.second(self.first(batch["x"])) - batch["y"]).square().mean()


def draw(generator: torch.Generator) -> Batch:
    x = torch.randn(8, 3, generator=generator)
    return {"x": x, "y": x @ SLOPES.T}


def weights(problem: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in problem.parameters()])


class StoppedError(Exception):
    """A kill, as far as the loop can see it."""


def stopped_at(step: int, seen: list[int]):
    """`draw` that dies at a step; the steps that were drawn are added to `seen`."""

    def dying(generator: torch.Generator) -> Batch:
        seen.append(generator.initial_seed())  # the step itself, for the seed 0
        if seen[-1] == step:
            raise StoppedError
        return draw(generator)

    return dying


def test_the_line_is_found(tmp_path):
    problem, frozen = Line(), weights(Line().frozen)
    settings = TrainingSettings(steps=300, batch_size=8, learning_rate=0.03, weight_decay=0.0)
    history = train(problem, draw, settings, tmp_path / "resume")
    assert [row["step"] for row in history] == list(range(1, 301))
    assert history[-1]["loss"] < 1e-5 < 1 < history[0]["loss"]
    slopes = problem.second.weight @ problem.first.weight
    torch.testing.assert_close(slopes, SLOPES, atol=0.01, rtol=0)
    assert torch.equal(weights(problem.frozen), frozen)
    assert not problem.training
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [0, 2, 4, 9])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, step):
    settings = replace(SHORT, accumulation=2)
    whole = Line()
    history = train(whole, draw, settings, tmp_path / "whole")

    seen, resume = [], tmp_path / "resume"
    with pytest.raises(StoppedError):
        train(Line(), stopped_at(step, seen), settings, resume)
    again = Line()
    first = len(seen)
    assert train(again, stopped_at(-1, seen), settings, resume) == history
    assert torch.equal(weights(again), weights(whole))
    assert seen[first:] == list(range(step // 3 * 3, 10))
    assert not list(tmp_path.iterdir())


def test_a_kill_while_a_checkpoint_is_written_costs_only_the_steps_since_the_last(
    tmp_path, monkeypatch
):
    whole = Line()
    history = train(whole, draw, SHORT, tmp_path / "whole")
    save, saved = Accelerator.save_state, []

    def half(accelerator: Accelerator, folder: str) -> None:
        save(accelerator, folder)
        saved.append(folder)
        if len(saved) == 2:
            next(Path(folder).glob("*.safetensors")).write_bytes(b"half")
            raise StoppedError

    monkeypatch.setattr(Accelerator, "save_state", half)
    with pytest.raises(StoppedError):
        train(Line(), draw, SHORT, tmp_path / "resume")
    again, seen = Line(), []
    assert train(again, stopped_at(-1, seen), SHORT, tmp_path / "resume") == history
    assert seen[0] == 3
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize(
    ("settings", "inputs", "begin"),
    [
        (SHORT, {"data": "a"}, 6),
        (SHORT, {"data": "b"}, 0),
        (SHORT, {}, 0),
        (replace(SHORT, learning_rate=0.04), {"data": "a"}, 0),
        (replace(SHORT, seed=1), {"data": "a"}, 0),
        (replace(SHORT, steps=12), {"data": "a"}, 0),
    ],
)
def test_a_checkpoint_of_other_settings_or_data_is_not_used(tmp_path, settings, inputs, begin):
    with pytest.raises(StoppedError):
        train(Line(), stopped_at(8, []), SHORT, tmp_path / "resume", inputs={"data": "a"})
    seen, again, fresh = [], Line(), Line()
    train(again, stopped_at(-1, seen), settings, tmp_path / "resume", inputs=inputs)
    assert len(seen) == settings.steps - begin
    train(fresh, draw, settings, tmp_path / "fresh")
    assert torch.equal(weights(again), weights(fresh))


def test_micro_batches_are_the_same_batch(tmp_path):
    runs = []
    for accumulation in (1, 2, 4):
        problem = Line()
        settings = replace(SHORT, accumulation=accumulation)
        runs.append((train(problem, draw, settings, tmp_path / "r"), weights(problem)))
    for history, trained in runs[1:]:
        for name in ("loss", "norm", "rate"):
            expected = [row[name] for row in runs[0][0]]
            assert [row[name] for row in history] == pytest.approx(expected, rel=1e-3)
        torch.testing.assert_close(trained, runs[0][1], atol=1e-4, rtol=1e-3)


def test_a_batch_that_cannot_be_cut_evenly_is_refused(tmp_path):
    settings = replace(SHORT, accumulation=SHORT.batch_size + 1)
    with pytest.raises(InputError, match="equal parts"):
        train(Line(), draw, settings, tmp_path / "resume")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("keep", "begin"), [(1, 0), (2, 3), (3, 3)])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, keep, begin):
    settings = replace(SHORT, keep_checkpoints=keep)
    whole = Line()
    history = train(whole, draw, settings, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(Line(), stopped_at(8, []), settings, tmp_path / "resume")
    states = sorted((tmp_path / "resume").glob("state-*"))
    assert [path.name for path in states] == ["state-0000003", "state-0000006"][-keep:]
    next(states[-1].glob("*.safetensors")).write_bytes(b"damaged")
    seen, again = [], Line()
    assert train(again, stopped_at(-1, seen), settings, tmp_path / "resume") == history
    assert seen[0] == begin
    assert torch.equal(weights(again), weights(whole))


def test_clipping_covers_everything_that_is_trained(tmp_path):
    problem, seen = Line(), []

    def before_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        seen.append((len(trained), torch.cat([p.grad.flatten() for p in trained]).norm().item()))

    copy, batch = Line(), draw(step_generator(0, 0))
    copy(batch).backward()
    true = torch.cat([p.grad.flatten() for p in copy.parameters() if p.grad is not None]).norm()
    hook = register_optimizer_step_pre_hook(before_step)
    try:
        settings = replace(SHORT, steps=1, max_grad_norm=0.01)
        history = train(problem, draw, settings, tmp_path / "resume")
    finally:
        hook.remove()
    assert history[0]["norm"] == pytest.approx(true.item(), rel=1e-5)
    assert true > 1
    assert seen == [(4, pytest.approx(0.01, rel=1e-3))]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_refused(tmp_path, value):
    def broken(generator: torch.Generator) -> Batch:
        batch = draw(generator)
        return batch | ({"y": batch["y"] + value} if generator.initial_seed() == 4 else {})

    with pytest.raises(InputError, match="step 4"):
        train(Line(), broken, SHORT, tmp_path / "resume")


def test_measuring_sees_the_average_and_disturbs_nothing(tmp_path):
    plain = Line()
    train(plain, draw, SHORT, tmp_path / "plain")
    last = Line()
    train(last, draw, replace(SHORT, ema_decay=0.0), tmp_path / "last")

    problem, seen = Line(), []

    def evaluate() -> dict[str, float]:
        assert not problem.training
        assert not torch.is_grad_enabled()
        seen.append(weights(problem))
        return {"figure": float(len(seen))}

    settings = replace(SHORT, evaluate_every=4)
    history = train(problem, draw, settings, tmp_path / "resume", evaluate=evaluate)
    assert [row.get("figure") for row in history] == [*[None] * 3, 1, *[None] * 3, 2, None, 3]
    assert torch.equal(weights(problem), weights(plain))
    assert torch.equal(seen[-1], weights(problem))
    assert not torch.equal(weights(problem), weights(last))


def test_the_average_in_float64(tmp_path):
    """a ← d·a + (1 − d)·w after every step, d rising with the steps k as (1 + k)/(10 + k)."""
    problem, after = Line(), []

    def after_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        after.append(torch.cat([p.detach().double().flatten() for p in trained]))

    hook = register_optimizer_step_post_hook(after_step)
    try:
        train(problem, draw, replace(SHORT, ema_decay=0.3), tmp_path / "resume")
    finally:
        hook.remove()
    average = after[0]
    for k, trained in enumerate(after[1:], 1):
        decay = min(0.3, (1 + k) / (10 + k))
        average = decay * average + (1 - decay) * trained
    said = weights(problem)[: len(average)].double()  # the frozen layer is the last
    torch.testing.assert_close(said, average, atol=1e-6, rtol=1e-5)
    assert (average - after[-1]).abs().max() > 1e-3


def test_curves_are_a_table_and_a_picture(tmp_path):
    history = [{"step": k, "loss": 1 / k, "rate": 1e-4} for k in (1, 2, 3)]
    history[2]["psnr"] = 20.5
    for name in ("a", "b"):
        write_curves(history, tmp_path / name)
    lines = (tmp_path / "a/curves.tsv").read_text().splitlines()
    assert [line.split("\t") for line in lines] == [
        ["step", "loss", "rate", "psnr"],
        ["1", "1", "0.0001", ""],
        ["2", "0.5", "0.0001", ""],
        ["3", "0.333333", "0.0001", "20.5"],
    ]
    assert read_png(tmp_path / "a/curves.png").std() > 1
    for name in ("curves.tsv", "curves.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_learning_rate_by_hand():
    settings = TrainingSettings(steps=100, learning_rate=2.0, warmup_steps=10, final_rate=0.1)
    assert learning_rate(0, settings) == pytest.approx(0.2)
    assert learning_rate(4, settings) == pytest.approx(
        2 * 0.5 * (0.1 + 0.9 * (0.5 + 0.5 * math.cos(0.04 * math.pi)))
    )
    assert learning_rate(50, settings) == pytest.approx(2 * 0.55)
    assert learning_rate(100, settings) == pytest.approx(0.2)
    after = [learning_rate(k, settings) for k in range(10, 101)]
    assert all(b < a for a, b in itertools.pairwise(after))
    flat = replace(settings, warmup_steps=0, final_rate=1.0)
    assert {learning_rate(k, flat) for k in range(100)} == {2.0}


def test_the_curve_holds_the_rates_that_were_used(tmp_path):
    history = train(Line(), draw, SHORT, tmp_path / "resume")
    assert [row["rate"] for row in history] == [learning_rate(k, SHORT) for k in range(10)]


def test_a_step_s_numbers_depend_on_seed_and_step_alone():
    drawn = {
        (seed, step): tuple(torch.rand(3, generator=step_generator(seed, step)).tolist())
        for seed in (0, 1, 2)
        for step in (0, 1, 2)
    }
    assert len(set(drawn.values())) == len(drawn)
    torch.manual_seed(9)
    assert tuple(torch.rand(3, generator=step_generator(1, 2)).tolist()) == drawn[1, 2]


@given(st.integers(1, 12), st.integers(1, 5))
def test_shares_are_a_partition(rows, parts):
    batch = {"a": torch.arange(rows), "b": torch.arange(rows) * 2}
    shares = [share(batch, part, parts) for part in range(parts)]
    assert sorted(torch.cat([s["a"] for s in shares]).tolist()) == list(range(rows))
    assert all(torch.equal(2 * s["a"], s["b"]) for s in shares)


def test_the_checkpoint_lies_outside_the_output(tmp_path, monkeypatch):
    monkeypatch.delenv("DREAMPOSE_RESUME_DIR", raising=False)
    assert resume_folder(tmp_path / "subjects/s") == tmp_path / "subjects/.s.resume"
    monkeypatch.setenv("DREAMPOSE_RESUME_DIR", str(tmp_path / "elsewhere"))
    assert resume_folder(tmp_path / "subjects/s") == tmp_path / "elsewhere/s"


class TestDrawNoise:
    count = 40_000

    def drawn(self, dropout: float = 0.1, **settings: float) -> Batch:
        latents = torch.zeros(self.count, 1, 1, 1)
        generator = torch.Generator().manual_seed(3)
        return draw_noise(generator, latents, 1000, NoiseSettings(dropout=dropout, **settings))

    def test_each_sample_loses_image_pose_or_both(self):
        batch = self.drawn()
        pairs = torch.stack([batch["image"], batch["pose"]], 1)
        for image, pose, rate in ((0, 1, 0.1), (1, 0, 0.1), (0, 0, 0.1), (1, 1, 0.7)):
            share = (pairs == torch.tensor([image, pose])).all(1).float().mean().item()
            assert share == pytest.approx(rate, abs=5 * math.sqrt(0.25 / self.count))
        dropped = (pairs == 0).any(1).view(-1, 16).sum(1)
        assert 0 < dropped.float().mean() < 16  # within one batch some keep and some lose
        assert dropped.unique().numel() > 5

    def test_nothing_is_lost_without_dropout(self):
        batch = self.drawn(dropout=0.0)
        assert batch["image"].all()
        assert batch["pose"].all()

    @pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
    def test_time_follows_its_power(self, power):
        """P(t < k) = P(u^p > 1 − k/T) = 1 − (1 − k/T)^(1/p)."""
        time = self.drawn(time_power=power)["time"]
        assert time.dtype == torch.long
        assert time.min() >= 0
        assert time.max() <= 999
        for bound in (50, 300, 500, 800, 990):
            expected = 1 - (1 - bound / 1000) ** (1 / power)
            error = 5 * math.sqrt(0.25 / self.count)
            assert (time < bound).float().mean().item() == pytest.approx(expected, abs=error)

    def test_a_share_stands_where_one_step_sampling_begins(self):
        batch, without = self.drawn(one_step=0.3), self.drawn()
        still = (batch["noise"] == 0).flatten()
        assert still.float().mean().item() == pytest.approx(0.3, abs=5 * (0.21 / self.count) ** 0.5)
        assert (batch["time"][still] == 999).all()
        for name in ("noise", "time"):
            assert torch.equal(batch[name][~still], without[name][~still])

    def test_noise_is_normal_and_the_draw_repeats(self):
        once, again = self.drawn(), self.drawn()
        assert all(torch.equal(once[name], again[name]) for name in once)
        noise = once["noise"].flatten()
        assert noise.mean().abs() < 0.03
        assert noise.std() == pytest.approx(1, abs=0.03)
        time, lot = once["time"].float(), once["image"]
        assert abs(np.corrcoef(time, lot)[0, 1]) < 0.03
        assert abs(np.corrcoef(time, noise)[0, 1]) < 0.03


class TestDenoising:
    @pytest.fixture
    def batch(self) -> Batch:
        torch.manual_seed(1)
        sizes = {"latents": (4, 8, 6), "noise": (4, 8, 6), "reference_latents": (4, 8, 6)}
        rows = {name: torch.randn(5, *size) for name, size in sizes.items()}
        rows |= {"uv": torch.rand(5, 10, 8, 6), "tokens": torch.randn(5, 5, 16)}
        keep = {"image": torch.tensor([1.0, 0, 1, 0, 1]), "pose": torch.tensor([1.0, 1, 0, 0, 1])}
        return rows | keep | {"time": torch.tensor([0, 3, 200, 700, 999])}

    def test_trains_unet_and_adapter_and_on_request_the_image_encoder(self):
        model = build(TINY)
        for encoder in (False, True):
            problem = DenoisingProblem(model, train_image_encoder=encoder)
            trained = {n.split(".")[0] for n, p in problem.named_parameters() if p.requires_grad}
            assert trained == {"unet", "adapter"} | ({"image_encoder"} if encoder else set())
            assert not any(p.requires_grad for p in model.vae.parameters())

    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    @pytest.mark.parametrize("gamma", [0.0, 5.0])
    def test_the_loss_in_float64(self, batch, monkeypatch, prediction, gamma):
        model = build(TINY)
        config = {**model.scheduler.config, "prediction_type": prediction}
        model.scheduler = DDIMScheduler.from_config(config)
        monkeypatch.setattr(model, "predict", lambda noisy, *_: torch.full_like(noisy, 0.3))
        by_channel = torch.tensor([0.5, 1, 1.5, 1])
        problem = DenoisingProblem(model, channel_weights=by_channel, min_snr=gamma)

        time = batch["time"].numpy()
        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        kept = np.cumprod(1 - betas)[time]
        alpha, sigma = (np.sqrt(v)[:, None, None, None] for v in (kept, 1 - kept))
        clean, noise = batch["latents"].double().numpy(), batch["noise"].double().numpy()
        velocity = prediction == "v_prediction"
        target = alpha * noise - sigma * clean if velocity else noise
        loss = ((0.3 - target) ** 2 * by_channel.numpy()[:, None, None]).mean((1, 2, 3))
        snr = kept / (1 - kept)
        if gamma:
            loss = loss * np.minimum(snr, gamma) / (snr + velocity)
        assert problem(batch).item() == pytest.approx(loss.mean(), rel=1e-4)

    def test_the_network_sees_the_noised_latents_and_what_is_kept(self, batch, monkeypatch):
        model, asked = build(TINY), []
        mixed = model.mixed_tokens(batch["tokens"], batch["reference_latents"], batch["image"])

        def predict(*given):
            asked.extend(given)
            return batch["noise"]

        monkeypatch.setattr(model, "predict", predict)
        assert DenoisingProblem(model)(batch).item() == 0
        noisy, time, tokens, condition, image, pose = asked
        expected = model.scheduler.add_noise(batch["latents"], batch["noise"], batch["time"])
        for said, meant in (
            (noisy, expected), (time, batch["time"]), (tokens, mixed),
            (condition.uv, batch["uv"]), (image, batch["image"]), (pose, batch["pose"]),
        ):  # fmt: skip
            assert torch.equal(said, meant)

    def test_gradients_reach_the_adapter_and_the_pose_channels(self, batch):
        model = build(TINY)
        DenoisingProblem(model)(batch).backward()
        for weight in (model.adapter.linear1.weight, model.unet.conv_in.weight):
            assert weight.grad.abs().max() > 0
        assert model.unet.conv_in.weight.grad[:, 4:].abs().max() > 0
        assert all(p.grad is None for p in model.image_encoder.parameters())
