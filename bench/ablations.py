"""What each setting buys: `python bench/ablations.py [sampler|subject|time]`.

Validation subjects in validation motions, one setting changed at a time from those of the preset
`mini`; PSNR, SSIM, PSNR on the person, and how steady the frames are. `docs/benchmark.md` holds
the tables, and the defaults were chosen from them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor

from common.poses import part_box
from common.settings import NoiseSettings, Sampling
from common.shards import open_shard
from common.training import TrainingSettings, train
from densepose_prep.network import IuvNetwork
from densepose_prep.smoothing import smoothed, window
from densepose_prep.train_iuv import estimated
from dreampose_core.benchmark_table import Seen, TrueClip
from dreampose_core.conditioning import rows
from dreampose_core.finetune import DecoderProblem, personalize
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import encode, to_tensor
from dreampose_core.scene import change_scheduler
from dreampose_core.subject import Clip, jittered
from mannequin.dataset import plan_dataset, render_dataset
from mannequin.split import VALIDATION

MODEL = Path(__file__).parents[1] / "weights/mini"
DEFAULT = Sampling(steps=1, noise_scale=0, settle=16)
NOISE = NoiseSettings(time_power=3, one_step=0.5)
Method = Callable[["Scene"], np.ndarray]


class Scene:
    """One subject, one true clip, the model: what a method makes frames (T, H, W, 3) from."""

    def __init__(self, shard, row: int, clip: int):
        self.true = TrueClip.of(shard, row, clip)
        some = np.linspace(0, shard.shape[2] - 1, 5).round().astype(int)
        self.photos = Clip(*(np.array(part[row, 0, some]) for part in (shard.rgb, shard.iuv)))

    @cached_property
    def model(self) -> DreamPosePipeline:
        return load(str(MODEL))

    @cached_property
    def seen(self) -> tuple:
        """The reference and the conditions."""
        reference = self.model.look(self.photos.frames[0], self.photos.iuv[0])
        return reference, self.model.pose(reference, self.true.iuv)

    def sampled(self, model: DreamPosePipeline, settings: Sampling) -> np.ndarray:
        """Frames by `model`; the conditions do not depend on what is finetuned."""
        tokens = model.look(self.photos.frames[0], self.photos.iuv[0])
        return model(tokens, self.seen[1], settings)


def sampler(change: dict, scheduler: str = "") -> Method:
    """The model as it is, with other settings."""

    def method(scene: Scene) -> np.ndarray:
        own = scene.model.scheduler
        if scheduler:
            scene.model.scheduler = change_scheduler(own, scheduler)
        frames = scene.sampled(scene.model, replace(DEFAULT, **change))
        scene.model.scheduler = own
        return frames

    return method


def own_noise(scale: float) -> Method:
    """Every frame from noise of its own."""

    def method(scene: Scene) -> np.ndarray:
        reference, condition = scene.seen
        settings = replace(DEFAULT, noise_scale=scale)
        each = [
            scene.model(reference, rows(condition, slice(t, t + 1)), replace(settings, seed=t))
            for t in range(len(condition.uv))
        ]
        return np.concatenate(each)

    return method


def without_tokens(scene: Scene) -> np.ndarray:
    """The cross-attention sees the null picture's tokens; the warp stays."""
    reference, condition = scene.seen
    return scene.model(replace(reference, tokens=reference.null_tokens), condition, DEFAULT)


def without_detail(scene: Scene) -> np.ndarray:
    """The decoder's drafts are the frames."""
    scene.model.detail, detail = None, scene.model.detail
    frames = scene.sampled(scene.model, DEFAULT)
    scene.model.detail = detail
    return frames


class CrossFrameAttention(AttnProcessor):
    """Self-attention in which every frame also, or only, looks at the first one.

    Khachatryan et al. 2023 (Text2Video-Zero), with no training for it.
    """

    def __init__(self, own: bool):
        super().__init__()
        self.own = own

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **kwargs):
        if encoder_hidden_states is None:
            first = hidden_states[:1].expand_as(hidden_states)
            encoder_hidden_states = torch.cat([first, hidden_states], 1) if self.own else first
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


def cross_frame(own: bool) -> Method:
    """The model with that attention in place of its own."""

    def method(scene: Scene) -> np.ndarray:
        model = load(str(MODEL))
        model.unet.set_attn_processor(CrossFrameAttention(own))
        return scene.sampled(model, DEFAULT)

    return method


def estimated_poses(smooth: bool) -> Method:
    """Poses as the small network sees them in the true frames, calmed or not."""

    def method(scene: Scene) -> np.ndarray:
        network = IuvNetwork.load(MODEL / "iuv")
        iuvs = estimated(network, scene.true.frames)
        if smooth:
            boxes = [part_box(iuv) for iuv in iuvs]
            around = [window(index, len(iuvs)) for index in range(len(iuvs))]
            iuvs = np.stack([smoothed([iuvs[i] for i in w], [boxes[i] for i in w]) for w in around])
        reference, _ = scene.seen
        return scene.model(reference, scene.model.pose(reference, iuvs), DEFAULT)

    return method


def finetuned(photos: int, steps: int, rate: float) -> Method:
    """UNet and adapter finetuned to so many photos."""

    def method(scene: Scene) -> np.ndarray:
        model = load(str(MODEL))
        clip = Clip(scene.photos.frames[:photos], scene.photos.iuv[:photos])
        settings = TrainingSettings(steps=steps, batch_size=8, learning_rate=rate)
        with tempfile.TemporaryDirectory() as scratch:
            personalize(model, clip, Path(scratch, "resume"), settings, pairs=24, noise=NOISE)
        return scene.sampled(model, DEFAULT)

    return method


def decoder_finetuned(steps: int, rate: float) -> Method:
    """The VAE's decoder finetuned to one photo."""

    def method(scene: Scene) -> np.ndarray:
        model, random = load(str(MODEL)), np.random.default_rng(0)
        moved = [
            jittered(scene.photos.frames[0], scene.photos.iuv[0], random)[0] for _ in range(24)
        ]
        images = to_tensor(np.stack(moved))
        with torch.no_grad():
            latents = encode(model.vae, images)

        def draw(generator: torch.Generator) -> dict:
            index = torch.randint(0, len(images), (8,), generator=generator)
            return {"images": images[index], "latents": latents[index]}

        settings = TrainingSettings(steps=steps, batch_size=8, learning_rate=rate)
        with tempfile.TemporaryDirectory() as scratch:
            train(DecoderProblem(model.vae), draw, settings, Path(scratch, "r"), label="decoder")
        return scene.sampled(model, DEFAULT)

    return method


SAMPLER: dict[str, Method] = {
    "**the default**: 1 step, noise 0, s1 1, s2 1, settle 16": sampler({}),
    "without the detail network": without_detail,
    "settle 0": sampler({"settle": 0}),
    "settle 8": sampler({"settle": 8}),
    "settle 32": sampler({"settle": 32}),
    "one noise sample for all frames, scale 0.25": sampler({"noise_scale": 0.25}),
    "one noise sample for all frames, scale 1": sampler({"noise_scale": 1}),
    "each frame its own noise, scale 0.25": own_noise(0.25),
    "each frame its own noise, scale 1": own_noise(1),
    "2 steps": sampler({"steps": 2}),
    "4 steps": sampler({"steps": 4}),
    "4 steps, noise 1": sampler({"steps": 4, "noise_scale": 1}),
    "4 steps, dpm++": sampler({"steps": 4}, "dpm++"),
    "4 steps, unipc": sampler({"steps": 4}, "unipc"),
    "4 steps, pndm": sampler({"steps": 4}, "pndm"),
    "12 steps, noise 1": sampler({"steps": 12, "noise_scale": 1}),
    **{
        f"s1 {s1:g}, s2 {s2:g}": sampler({"s1": s1, "s2": s2})
        for s1 in (0.5, 1, 1.5, 2)
        for s2 in (1, 1.25, 1.5)
        if (s1, s2) != (1, 1)
    },
}
SUBJECT: dict[str, Method] = {
    "the base as it is": sampler({}),
    "**the default**: one photo, 40 steps at 2e-5": finetuned(1, 40, 2e-5),
    "one photo, 120 steps at 1e-4": finetuned(1, 120, 1e-4),
    "five photos, 40 steps at 2e-5": finetuned(5, 40, 2e-5),
    "five photos, 120 steps at 1e-4": finetuned(5, 120, 1e-4),
    "decoder, 60 steps at 1e-4": decoder_finetuned(60, 1e-4),
}
TIME: dict[str, Method] = {
    "the default": sampler({}),
    "without the picture's tokens": without_tokens,
    "every frame attends to the first one as well": cross_frame(True),
    "every frame attends to the first one instead": cross_frame(False),
    "estimated poses": estimated_poses(False),
    "estimated poses, smoothed": estimated_poses(True),
}
GROUPS = {"sampler": SAMPLER, "subject": SUBJECT, "time": TIME}


def main(methods: dict[str, Method], subjects: int, motions: int, frames: int) -> Iterator[str]:
    """Lines of a markdown table."""
    plan = plan_dataset(
        VALIDATION.subjects[:subjects],
        motions=VALIDATION.motions[: motions + 1],
        frames_per_clip=frames,
    )
    with tempfile.TemporaryDirectory() as scratch:
        render_dataset(Path(scratch, "data"), plan, 1)
        shard = open_shard(Path(scratch, "data"))
        scenes = [Scene(shard, s, c) for s in range(subjects) for c in range(1, motions + 1)]
        yield (
            f"{subjects} validation subjects × {motions} motions × {frames} frames, seed 0. PSNR "
            "in dB; changes a frame in grey levels: of brightness where nothing moves, and along "
            "the true motion."
        )
        yield ""
        yield "| | PSNR | SSIM | person PSNR | brightness | along motion |"
        yield "|---|---|---|---|---|---|"
        for name, method in {"the true frames": lambda s: s.true.frames, **methods}.items():
            seen = Seen.nothing()
            for scene in scenes:
                seen.add(scene.true.measure(method(scene)))
            near = [np.mean([f[k] for f in seen.frames]) for k in ("psnr", "ssim", "person_psnr")]
            steady = [
                255 * np.mean([c[k] for c in seen.clips]) for k in ("flicker", "warped_difference")
            ]
            yield "| {} | {:.2f} | {:.3f} | {:.2f} | {:.3f} | {:.2f} |".format(name, *near, *steady)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=GROUPS, nargs="?", default="sampler")
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--motions", type=int, default=2)
    parser.add_argument("--frames", type=int, default=12)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for line in main(GROUPS[given.which], given.subjects, given.motions, given.frames):
        print(line, flush=True)
