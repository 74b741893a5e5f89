"""From a base to a subject to its frames: pairs, finetuning, sampling, what is refused."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from world import World, run, write_clip

from common.errors import InputError
from common.files import folder_hash
from common.frames import frame_name, read_frames, read_info
from common.images import read_png
from common.settings import Sampling
from dreampose_core import finetune
from dreampose_core.framing import model_fit
from dreampose_core.model import build
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import encode, to_tensor
from dreampose_core.scene import load_subject
from dreampose_core.subject import Clip, encoded_pairs, jittered, read_clip
from mannequin.motion import sample_motion
from mannequin.render import render_clip
from mannequin.subject import sample_subject

pytestmark = pytest.mark.usefixtures("one_thread", "little_garbage")

ARCHITECTURES = Path(__file__).parents[1] / "presets/architectures"
TINY, MINI = ARCHITECTURES / "tiny.json", ARCHITECTURES / "mini.json"
QUICK = ("--steps", 3, "--batch-size", 2, "--pairs", 3, "--warmup-steps", 0)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def changed(base: Path, subject: Path) -> set[str]:
    """Names of a component's weights that are not the base's."""
    before, after = tensors(base), tensors(subject)
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def flat_clip(model: DreamPosePipeline, count: int) -> Clip:
    """Frames and poses that say by their level which frame they are."""
    config = model.conditioning.config
    rgb = np.empty((count, config.height, config.width, 3), np.uint8)
    rgb[:] = (40 * np.arange(count) + 20)[:, None, None, None]
    iuv = rgb.copy()
    iuv[..., 0] = 2
    return Clip(rgb, iuv)


class TestPairs:
    def test_the_target_is_never_the_reference(self):
        model, count = build(TINY), 4
        clip = flat_clip(model, count)
        pairs = encoded_pairs(model, clip, 60, seed=0)
        with torch.no_grad():
            known = encode(model.vae, to_tensor(clip.frames))

        def which(latents: torch.Tensor) -> list[int]:
            distance = (latents[:, None] - known[None]).abs().amax((2, 3, 4))
            assert (distance.min(1).values < 1e-4).all()
            return distance.argmin(1).tolist()

        target, reference = which(pairs["latents"]), which(pairs["reference_latents"])
        seen = Counter(zip(target, reference, strict=True))
        assert set(seen) == {(t, r) for t in range(count) for r in range(count) if t != r}

    def test_the_pose_window_is_the_clip_s(self):
        model, count = build(TINY), 4
        pairs = encoded_pairs(model, flat_clip(model, count), 60, seed=0)
        levels = (255 * pairs["uv"].mean((2, 3)) - 20) / 40
        windows = {tuple(row) for row in levels[:, ::2].round().int().tolist()}
        assert windows == {
            tuple(min(max(target + step, 0), count - 1) for step in (-2, -1, 0, 1, 2))
            for target in range(count)
        }

    def test_the_tokens_are_the_reference_s(self):
        model = build(TINY)
        clip = flat_clip(model, 3)
        pairs = encoded_pairs(model, clip, 4, seed=1)
        ones = torch.ones(1)
        with torch.no_grad():
            known = [model.tokens(to_tensor(frame[None]), ones)[0] for frame in clip.frames]
            latents = encode(model.vae, to_tensor(clip.frames))
        for tokens, seen in zip(pairs["tokens"], pairs["reference_latents"], strict=True):
            frame = (latents - seen).abs().amax((1, 2, 3)).argmin()
            torch.testing.assert_close(tokens, known[frame], atol=1e-4, rtol=1e-4)

    def test_one_photo_is_shown_in_other_places(self):
        model = build(TINY)
        random = np.random.default_rng(0)
        rgb = random.integers(0, 256, (1, 64, 48, 3), np.uint8)
        iuv = np.zeros_like(rgb)
        iuv[:, 10:50, 10:40] = 2, 120, 200
        pairs = encoded_pairs(model, Clip(rgb, iuv), 4, seed=0)
        for a, b in zip(pairs["latents"], pairs["reference_latents"], strict=True):
            assert (a - b).abs().mean() > 1e-3
        assert len({tuple(uv.flatten().tolist()) for uv in pairs["uv"]}) == 4
        window = pairs["uv"].unflatten(1, (5, 2))
        assert torch.equal(window, window[:, :1].expand_as(window))

    def test_the_seed_decides_the_pairs(self):
        model = build(TINY)
        clip = flat_clip(model, 3)
        once, again, other = (encoded_pairs(model, clip, 6, seed) for seed in (1, 1, 2))
        assert all(torch.equal(once[name], again[name]) for name in once)
        assert not torch.equal(once["latents"], other["latents"])

    def test_jitter_moves_frame_and_pose_alike(self):
        iuv = np.zeros((160, 128, 3), np.uint8)
        iuv[40:120, 40:90] = 2, 100, 200
        frame = np.where(iuv[..., :1] > 0, 200, 50).repeat(3, 2).astype(np.uint8)
        random, shapes = np.random.default_rng(0), set()
        for _ in range(8):
            moved, labels = jittered(frame, iuv, random)
            body = labels[..., 0] > 0
            assert ((moved[..., 0] > 125) == body).mean() > 0.99
            assert {tuple(v) for v in labels.reshape(-1, 3)} == {(0, 0, 0), (2, 100, 200)}
            assert 0.9**2 * 0.97 < body.sum() / 4000 < 1.12**2 * 1.03
            rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
            centre = np.array([rows.mean() - 79.5, columns.mean() - 64.5])
            assert np.abs(centre).max() < 0.04 * 160 + 2
            shapes.add((int(body.sum()), *centre.round(1)))
        assert len(shapes) == 8

    def test_only_what_a_pair_needs_is_read(self, world):
        model = build(TINY)
        subject = world.root / "subject"
        clip = read_clip(model, subject / "frames", subject / "poses")
        seen = []
        read = clip.frames.read
        watched = replace(clip.frames, read=lambda path: seen.append(path) or read(path))
        encoded_pairs(model, replace(clip, frames=watched), 1, seed=0)
        assert len(set(seen)) == len(seen) == 2

    def test_frames_and_poses_are_cut_by_one_fit(self, world, tmp_path):
        model = build(TINY)
        iuv = np.zeros((1, 200, 180, 3), np.uint8)
        iuv[0, 60:130, 70:110] = 2, 90, 160
        rgb = np.where(iuv[..., :1] > 0, 220, 30).repeat(3, 3).astype(np.uint8)
        crop = (60, 50, 120, 140)
        write_clip(tmp_path, rgb, iuv, crop=crop)
        clip = read_clip(model, tmp_path / "frames", tmp_path / "poses")
        fit = model_fit((200, 180), (64, 48), crop)
        assert np.array_equal(clip.frames[0], fit.apply(rgb[0]))
        assert np.array_equal(clip.iuv[0], fit.apply(iuv[0], labels=True))
        assert ((clip.frames[0][..., 0] > 125) == (clip.iuv[0][..., 0] > 0)).mean() > 0.97
        assert (clip.iuv[0][..., 0] > 0).mean() > 0.3


class TestBase:
    def test_an_architecture_becomes_a_model_of_its_seed(self, world, tmp_path):
        loaded, built = DreamPosePipeline.from_pretrained(world.base), build(TINY, 3)
        for name in ("unet", "vae", "adapter", "image_encoder", "conditioning"):
            before = getattr(built, name).state_dict()
            after = getattr(loaded, name).state_dict()
            assert all(torch.equal(before[key], after[key]) for key in before)
        for seed, same in ((3, True), (4, False)):
            assert run("base", "--source", TINY, "--out", tmp_path / "b", "--seed", seed) == 0
            assert (folder_hash(tmp_path / "b") == folder_hash(world.base)) is same

    def test_a_finished_folder_is_copied_byte_for_byte(self, world, tmp_path):
        shutil.copytree(world.base, tmp_path / "given")
        (tmp_path / "given/iuv").mkdir()
        (tmp_path / "given/iuv/config.json").write_text("{}")
        (tmp_path / "given/README.md").write_text("weights")
        assert run("base", "--source", tmp_path / "given", "--out", tmp_path / "out") == 0
        assert folder_hash(tmp_path / "out") == folder_hash(world.base)

    def test_what_is_no_model_leaves_nothing(self, world, tmp_path, capsys):
        (tmp_path / "broken").mkdir()
        shutil.copytree(world.base / "conditioning", tmp_path / "broken/conditioning")
        for source in ("missing", "missing.json", "broken"):
            out = tmp_path / "out/base"
            assert run("base", "--source", tmp_path / source, "--out", out) == 2
            assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")
            assert not out.exists()


class TestFinetune:
    def test_the_unet_and_the_adapter_alone(self, world, tmp_path):
        assert run("finetune-unet", *world.given, "--out", tmp_path / "unet", *QUICK) == 0
        names = {path.name for path in (tmp_path / "unet").iterdir()}
        assert names == {"unet", "adapter", "finetune.json", "curves.tsv", "curves.png"}
        for name, weight in (("unet", "conv_in.weight"), ("adapter", "linear1.weight")):
            assert weight in changed(world.base / name, tmp_path / "unet" / name)
        report = json.loads((tmp_path / "unet/finetune.json").read_text())
        assert report["changed"] == ["unet", "adapter"]
        assert report["settings"]["steps"] == 3
        assert len((tmp_path / "unet/curves.tsv").read_text().splitlines()) == 4

    def test_the_decoder_alone(self, world, tmp_path):
        assert run("finetune-vae", *world.given, "--out", tmp_path / "vae", *QUICK) == 0
        names = {path.name for path in (tmp_path / "vae").iterdir()}
        assert names == {"vae", "finetune.json", "curves.tsv", "curves.png"}
        trained = changed(world.base / "vae", tmp_path / "vae/vae")
        decoder = {k for k in tensors(world.base / "vae") if k.startswith("decoder.")}
        assert trained == decoder

    @pytest.mark.parametrize("verb", ["finetune-unet", "finetune-vae"])
    def test_twice_the_same_bytes(self, world, tmp_path, verb):
        for name in ("a", "b"):
            assert run(verb, *world.given, "--out", tmp_path / name, *QUICK) == 0
        assert folder_hash(tmp_path / "a") == folder_hash(tmp_path / "b")
        assert run(verb, *world.given, "--out", tmp_path / "c", *QUICK, "--seed", 1) == 0
        curves = {(tmp_path / name / "curves.tsv").read_text() for name in "abc"}
        assert len(curves) == 2

    @pytest.mark.parametrize("verb", ["finetune-unet", "finetune-vae"])
    def test_a_killed_run_goes_on(self, world, tmp_path, monkeypatch, verb):
        more = (*QUICK, "--checkpoint-every", 2)
        assert run(verb, *world.given, "--out", tmp_path / "whole", *more) == 0
        pick, picked = finetune._pick, []

        def dying(*arguments):
            picked.append(1)
            if len(picked) == 3:
                raise RuntimeError("killed")
            return pick(*arguments)

        monkeypatch.setattr(finetune, "_pick", dying)
        with pytest.raises(RuntimeError, match="killed"):
            run(verb, *world.given, "--out", tmp_path / "again", *more)
        assert not (tmp_path / "again").exists()
        assert run(verb, *world.given, "--out", tmp_path / "again", *more) == 0
        assert len(picked) == 4
        assert folder_hash(tmp_path / "again") == folder_hash(tmp_path / "whole")

    def test_other_pairs_or_dropout_begin_anew(self, world, tmp_path, monkeypatch):
        pick, picked = finetune._pick, []

        def counted(*arguments):
            picked.append(1)
            if len(picked) == 3:
                raise RuntimeError("killed")
            return pick(*arguments)

        monkeypatch.setattr(finetune, "_pick", counted)
        for verb, change in (
            ("finetune-unet", ("--dropout", 0.2)),
            ("finetune-unet", ("--min-snr", 5)),
            ("finetune-vae", ("--pairs", 4)),
        ):
            picked.clear()
            given = (verb, *world.given, "--out", tmp_path / "out", *QUICK, "--checkpoint-every", 2)
            with pytest.raises(RuntimeError, match="killed"):
                run(*given)
            assert run(*given, *change) == 0
            assert len(picked) == 3 + 3

    def test_no_steps_change_nothing(self, world, tmp_path):
        for verb, name in (("finetune-unet", "unet"), ("finetune-vae", "vae")):
            out = tmp_path / name
            assert run(verb, *world.given, "--out", out, "--steps", 0) == 0
            assert [path.name for path in out.iterdir()] == ["finetune.json"]
        assert world.sample(tmp_path / "base") == 0
        both = ("--unet", tmp_path / "unet", "--vae", tmp_path / "vae")
        assert world.sample(tmp_path / "same", *both) == 0
        assert np.array_equal(read_frames(tmp_path / "base"), read_frames(tmp_path / "same"))

    def test_a_small_warping_model_learns_from_one_photo(self, tmp_path):
        """The embedded architecture, with parts, warp and prior, through both stages."""
        motion = sample_motion("showcase", 300_000)
        rgb, iuv = render_clip(sample_subject(200_000), motion, frame_indices=[0, 16])
        write_clip(tmp_path / "photo", rgb[:1], iuv[:1])
        write_clip(tmp_path / "driving", rgb, iuv)
        world = World(tmp_path)
        (tmp_path / "photo").rename(tmp_path / "subject")
        assert run("base", "--source", MINI, "--out", world.base) == 0
        few = ("--steps", 1, "--batch-size", 2, "--pairs", 2)
        assert run("finetune-unet", *world.given, "--out", tmp_path / "unet", *few) == 0
        assert changed(world.base / "unet", tmp_path / "unet/unet")
        assert world.sample(tmp_path / "out", "--unet", tmp_path / "unet") == 0
        frames = read_frames(tmp_path / "out")
        assert frames.shape == rgb.shape
        assert frames.std() > 5


class TestSample:
    def test_frames_in_the_subject_s_framing(self, world, tmp_path):
        assert world.sample(tmp_path / "out") == 0
        frames, info = read_frames(tmp_path / "out"), read_info(tmp_path / "out")
        assert frames.shape == (5, 80, 64, 3)
        assert (info.count, info.size, info.fps) == (5, (80, 64), "25")
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {*map(frame_name, range(5)), "frames.json", "samples.json"}
        said = json.loads((tmp_path / "out/samples.json").read_text())
        assert set(said["inputs"]) == {"base", "frames", "subject_poses", "poses"}
        assert said["parameters"]["s2"] == 3

    def test_the_finetuned_components_are_used(self, world, tmp_path):
        rate = ("--learning-rate", 1e-2)
        for verb, name in (("finetune-unet", "unet"), ("finetune-vae", "vae")):
            assert run(verb, *world.given, "--out", tmp_path / name, *QUICK, *rate) == 0
        folders = {"unet": tmp_path / "unet", "vae": tmp_path / "vae"}
        outs = []
        for names in ((), ("unet",), ("vae",), ("unet", "vae")):
            given = [part for name in names for part in (f"--{name}", folders[name])]
            assert world.sample(tmp_path / "out", *given) == 0
            outs.append(read_frames(tmp_path / "out").tobytes())
        assert len(set(outs)) == 4
        subject = load_subject(world.base, folders["unet"], folders["vae"])
        for name, folder in (("unet", "unet"), ("adapter", "unet"), ("vae", "vae")):
            expected = tensors(tmp_path / folder / name)
            state = getattr(subject, name).state_dict()
            assert all(torch.equal(state[key].cpu(), expected[key]) for key in expected)

    def test_twice_the_same_bytes_and_another_seed_other_frames(self, world, tmp_path):
        for name in ("a", "b"):
            assert world.sample(tmp_path / name) == 0
        assert folder_hash(tmp_path / "a") == folder_hash(tmp_path / "b")
        assert world.sample(tmp_path / "c", "--seed", 1) == 0
        assert not np.array_equal(read_frames(tmp_path / "a"), read_frames(tmp_path / "c"))

    def test_batches_and_schedulers(self, world, tmp_path):
        assert world.sample(tmp_path / "out") == 0
        expected = read_frames(tmp_path / "out").astype(int)
        assert world.sample(tmp_path / "out", "--batch-size", 5) == 0
        assert np.abs(read_frames(tmp_path / "out") - expected).max() <= 1
        for name in ("ddim", "pndm", "dpm++", "unipc"):
            assert world.sample(tmp_path / name, "--scheduler", name) == 0
        same = np.abs(read_frames(tmp_path / "pndm") - expected).max()
        assert same == 0  # tiny's own
        assert np.abs(read_frames(tmp_path / "unipc") - expected).max() > 0

    def test_the_sampler_can_begin_with_the_noised_reference(self, world, tmp_path):
        assert world.sample(tmp_path / "noise") == 0
        assert world.sample(tmp_path / "reference", "--start-from", "reference") == 0
        noise, reference = (read_frames(tmp_path / name) for name in ("noise", "reference"))
        assert not np.array_equal(noise, reference)

    def test_the_noised_reference_by_hand(self, world):
        model = DreamPosePipeline.from_pretrained(world.base)
        clip = flat_clip(model, 2)
        seen = model.look(clip.frames[0], clip.iuv[0])
        expected = encode(model.vae, to_tensor(clip.frames[:1]))
        torch.testing.assert_close(seen.latents, expected)
        starts = []
        model.guided = lambda noisy, *_: starts.append(noisy) or torch.zeros_like(noisy)
        noise = torch.ones_like(expected)
        settings = Sampling(steps=4, start_from="reference")
        model.denoise(noise, seen, model.pose(seen, clip.iuv[:1]), settings)
        scheduler = type(model.scheduler).from_config(model.scheduler.config)
        scheduler.set_timesteps(4)
        share = scheduler.alphas_cumprod[scheduler.timesteps[0]]
        by_hand = share.sqrt() * expected + (1 - share).sqrt() * noise
        torch.testing.assert_close(starts[0], by_hand)

    def test_a_sweep_is_a_grid_of_every_pair(self, world, tmp_path):
        for name, image, pose in (("grid.png", (1, 4), (1, 3, 9)), ("one.png", (1,), (1,))):
            pairs = ("--image-strengths", *image, "--pose-strengths", *pose, "--frame", 2)
            assert world.sample(tmp_path / name, *pairs, verb="sweep") == 0
        grid, one = (read_png(tmp_path / name) for name in ("grid.png", "one.png"))
        gap, high, wide = 6, 256, 256 * 48 // 64
        assert grid.shape[0] - one.shape[0] == high + gap
        assert grid.shape[1] - one.shape[1] == 2 * (wide + gap)
        assert world.sample(tmp_path / "no.png", "--frame", 5, verb="sweep") == 2

    @pytest.fixture
    def killed(self, world, tmp_path, monkeypatch) -> Path:
        """A run that died in its second batch of three; its output path."""
        call, calls = DreamPosePipeline.__call__, []

        def dying(*arguments):
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("killed")
            return call(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(DreamPosePipeline, "__call__", dying)
            with pytest.raises(RuntimeError, match="killed"):
                world.sample(tmp_path / "out")
        assert not (tmp_path / "out").exists()
        partial = tmp_path / ".out.partial"
        assert sorted(p.name for p in partial.glob("*.png")) == ["000000.png", "000001.png"]
        (partial / "000002.tmp").write_bytes(b"half")
        return tmp_path / "out"

    @staticmethod
    def times(folder: Path) -> list[int]:
        return [(folder / frame_name(i)).stat().st_mtime_ns for i in range(2)]

    def test_a_killed_run_goes_on_where_it_stopped(self, world, tmp_path, killed):
        before = self.times(tmp_path / ".out.partial")
        assert world.sample(killed) == 0
        assert self.times(killed) == before
        assert world.sample(tmp_path / "whole") == 0
        assert folder_hash(killed) == folder_hash(tmp_path / "whole")
        assert not (tmp_path / ".out.partial").exists()

    @pytest.mark.parametrize("change", ["seed", "subject_poses", "poses"])
    def test_frames_of_another_order_are_not_kept(self, world, tmp_path, killed, change):
        before = self.times(tmp_path / ".out.partial")
        if change == "seed":
            more, other = ("--seed", 5), {}
        else:
            place = world.root / ("driving" if change == "subject_poses" else "subject") / "poses"
            more, other = (), {change: place}
        assert world.sample(killed, *more, **other) == 0
        assert all(b > a for a, b in zip(before, self.times(killed), strict=True))
        assert world.sample(tmp_path / "whole", *more, **other) == 0
        assert folder_hash(killed) == folder_hash(tmp_path / "whole")


class TestRefusals:
    @pytest.fixture
    def refused(self, tmp_path, capsys):
        """Checks that a call ended with exit code 2, one line, and nothing at its output."""

        def check(code: int, words: str) -> None:
            assert code == 2
            errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
            assert len(errors) == 1
            assert words in errors[0]
            assert not (tmp_path / "out").exists()
            assert not (tmp_path / ".out.partial").exists()

        return check

    @pytest.fixture
    def others(self, world, tmp_path) -> Path:
        """Folders that do not fit the world's: another chart, size or number of frames."""
        rng = np.random.default_rng(0)
        rgb = rng.integers(0, 256, (3, 80, 64, 3), np.uint8)
        iuv = rgb % 25
        write_clip(tmp_path / "chart", rgb, iuv, chart="densepose")
        write_clip(tmp_path / "size", rgb[:, :60], iuv[:, :60])
        write_clip(tmp_path / "count", rgb[:2], iuv[:2])
        return tmp_path

    @pytest.mark.parametrize("verb", ["finetune-unet", "finetune-vae"])
    def test_finetuning(self, world, others, refused, verb):
        frames = world.root / "subject/frames"
        out = ("--out", others / "out", *QUICK)
        for name, words in (("chart", "'densepose'"), ("size", "80, 64"), ("count", "2")):
            given = ("--base", world.base, "--frames", frames, "--poses", others / name / "poses")
            refused(run(verb, *given, *out), words)
        poses = world.root / "subject/poses"
        given = ("--frames", frames, "--poses", poses)
        refused(run(verb, "--base", others / "missing", *given, *out), "missing")
        given = ("--base", world.base, "--poses", poses)
        refused(run(verb, *given, "--frames", others, *out), "not a frames folder")

    def test_sampling(self, world, others, refused):
        out = others / "out"
        refused(world.sample(out, poses=others / "chart/poses"), "'densepose'")
        refused(world.sample(out, subject_poses=others / "chart/poses"), "'densepose'")
        refused(world.sample(out, poses=others / "size/poses"), "(60, 64)")
        refused(world.sample(out, base=others / "missing"), "missing")
        refused(world.sample(out, frames=others), "not a frames folder")

    def test_in_python_too(self, world, others):
        with pytest.raises(InputError):
            read_clip(build(TINY), others / "chart/frames", others / "chart/poses")
