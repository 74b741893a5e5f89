"""Our sampler beside a plain copy of what the published loop does, in one run.

The published loop takes one frame at a time, encodes the picture again for each, and asks for all
three branches at every one of 100 steps. Equal steps: the same scheduler, steps and noise. Equal
quality: the fewest steps, of the schedulers there are, whose frames are as near to the 100-step
ones as SSIM .98 and not farther from the true ones. The floor is the UNet's own time for our
branches. `python bench/sampler.py`; on a GPU `--model FOLDER --half` for the full size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from side_by_side import clip_of, clock

from common.settings import Sampling
from dreampose_core.guidance import dual_guidance
from dreampose_core.metrics import ssim
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import to_frames
from dreampose_core.scene import change_scheduler

SEED = 0
NEAR = 0.98
TRIED = [(name, n) for name in ("ddim", "unipc", "dpm++") for n in (1, 2, 4, 8, 12, 20, 35)]


@torch.no_grad()
def published(
    model: DreamPosePipeline, photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray, how: Sampling
) -> np.ndarray:
    """Frame by frame, everything again for each, three branches always."""
    frames = []
    for index in range(len(poses)):
        reference = model.look(photo, iuv)
        condition = model.pose(reference, poses).map(lambda v, at=index: v[at : at + 1])
        scheduler = type(model.scheduler).from_config(model.scheduler.config)
        scheduler.set_timesteps(how.steps, device=model.device)
        latents = model.initial_noise(how.seed) * scheduler.init_noise_sigma
        three = condition.map(lambda v: v.repeat(3, 1, 1, 1))
        image, pose = (latents.new_tensor(v) for v in ((0, 1, 1), (0, 0, 1)))
        tokens = torch.cat([reference.null_tokens, reference.tokens, reference.tokens])
        for moment in scheduler.timesteps:
            noisy = scheduler.scale_model_input(latents, moment).repeat(3, 1, 1, 1)
            output = model.predict(noisy, moment.expand(3), tokens, three, image, pose)
            output = dual_guidance(*output.split(1), how.s1, how.s2)
            latents = scheduler.step(output, moment, latents).prev_sample
        frames.append(to_frames(model.drawn(latents, condition))[0])
    return np.stack(frames)


def ours(
    model: DreamPosePipeline, photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray, how: Sampling
) -> np.ndarray:
    """The product's way: one reference, all frames in one batch, needed branches only."""
    reference = model.look(photo, iuv)
    return model(reference, model.pose(reference, poses), how)


@contextmanager
def unet_seconds(model: DreamPosePipeline):
    """Counts the time inside the UNet."""
    spent, forward = [0.0], model.unet.forward

    def timed(*arguments, **named):
        begin = clock()
        output = forward(*arguments, **named)
        spent[0] += clock() - begin
        return output

    model.unet.forward = timed
    try:
        yield spent
    finally:
        model.unet.forward = forward


def seconds(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Wall time of a call and what it made."""
    begin = clock()
    made = call()
    return clock() - begin, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights/mini")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--half", action="store_true")
    given = parser.parse_args()
    model = load(given.model)
    if torch.cuda.is_available():
        model.to("cuda", torch.float16 if given.half else torch.float32)
    base = model.scheduler
    truth, poses = clip_of(model, given.frames)
    photo, iuv = truth[0], poses[0]
    model.scheduler = change_scheduler(base, "ddim")
    ours(model, photo, iuv, poses, Sampling(steps=1))
    for s1, s2 in ((1.0, 1.0), (3.0, 2.0)):
        how = Sampling(steps=given.steps, s1=s1, s2=s2, seed=SEED)
        slow, theirs = seconds(lambda how=how: published(model, photo, iuv, poses, how))
        with unet_seconds(model) as spent:
            fast, best = seconds(lambda how=how: ours(model, photo, iuv, poses, how))
        print(
            f"s1 {s1:g}, s2 {s2:g}, {given.steps} DDIM steps, {given.frames} frames: "
            f"published {slow / given.frames:.2f} s a frame, ours {fast / given.frames:.2f}: "
            f"{slow / fast:.1f}x; {fast / spent[0]:.2f} times the UNet alone; "
            f"SSIM to each other {ssim(theirs, best):.4f}, to the truth {ssim(best, truth):.4f}",
            flush=True,
        )
        found = []
        for name, steps in TRIED:
            model.scheduler = change_scheduler(base, name)
            few = replace(how, steps=steps)
            took, made = seconds(lambda few=few: ours(model, photo, iuv, poses, few))
            near, true = ssim(made, best), ssim(made, truth)
            if near >= NEAR and true >= ssim(best, truth) - 5e-4:
                found.append((took, name, steps, near, true))
        model.scheduler = change_scheduler(base, "ddim")
        if not found:
            print("  equal quality: none of the fewer steps is as near")
            continue
        took, name, steps, near, true = min(found)
        print(
            f"  equal quality: {name} in {steps} steps, {took / given.frames:.3f} s a frame: "
            f"{slow / took:.1f}x; SSIM to the {given.steps}-step frames {near:.4f}, "
            f"to the truth {true:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
