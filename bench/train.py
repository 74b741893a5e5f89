"""A step of subject finetuning beside a plain copy of the published one, in one run.

The published step encodes its pictures by VAE and CLIP again and again; ours has encoded its pairs
once. The floor is the UNet's and the adapter's own way there and back on the same batch.
`python bench/train.py`; on a GPU `--model FOLDER` for the full size.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.utils import set_seed
from side_by_side import clip_of, clock
from torch.nn import functional as F

from common.settings import NoiseSettings, TrainingSettings
from common.training import Batch, step_generator
from dreampose_core.conditioning import Condition
from dreampose_core.denoising import CONDITION, DenoisingProblem, draw_noise
from dreampose_core.finetune import personalize
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import encode, to_tensor
from dreampose_core.subject import Clip, encoded_pairs


def seconds_a_step(step: Callable[[int], None], steps: int) -> float:
    """Mean wall time of steps after a first one."""
    step(0)
    begin = clock()
    for index in range(1, steps + 1):
        step(index)
    return (clock() - begin) / steps


def published(model: DreamPosePipeline, clip: Clip, batch: int, steps: int) -> float:
    """Seconds a step that encodes everything anew."""
    problem = DenoisingProblem(model)
    trained = [p for p in problem.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5)
    pool = encoded_pairs(model, clip, batch, 0)
    pixels = to_tensor(clip.frames[:batch]).to(model.device)
    count = model.scheduler.config.num_train_timesteps
    poses = {name: value.to(model.device) for name, value in pool.items() if name in CONDITION}

    def step(index: int) -> None:
        with torch.no_grad():
            clean = encode(model.vae, pixels)
        generator = step_generator(0, index)
        drawn = draw_noise(generator, clean.cpu(), count, NoiseSettings(dropout=0))
        noise, moment = (drawn[name].to(model.device) for name in ("noise", "time"))
        noisy = model.scheduler.add_noise(clean, noise, moment)
        keep = torch.ones(batch, device=model.device)
        tokens = model.tokens(pixels, keep)
        output = model.predict(noisy, moment, tokens, Condition(**poses), keep, keep)
        F.mse_loss(output, noise).backward()
        torch.nn.utils.clip_grad_norm_(model.unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return seconds_a_step(step, steps)


def floor(model: DreamPosePipeline, clip: Clip, batch: int, steps: int) -> float:
    """Seconds of the networks' way there and back."""
    problem = DenoisingProblem(model)
    pool = encoded_pairs(model, clip, batch, 0)
    noise = draw_noise(step_generator(0, 0), pool["latents"], 1000, NoiseSettings())
    rows: Batch = {k: v.to(model.device) for k, v in (pool | noise).items()}
    return seconds_a_step(lambda _: problem(rows).backward(), steps)


def ours(model: DreamPosePipeline, clip: Clip, batch: int, steps: int) -> float:
    """Seconds a step of the one training loop, with what it does around."""
    took = []
    for count in (1, steps + 1):
        settings = TrainingSettings(steps=count, batch_size=batch, checkpoint_every=0)
        with tempfile.TemporaryDirectory() as folder:
            begin = clock()
            noise = NoiseSettings()
            personalize(model, clip, Path(folder) / "r", settings, pairs=batch, noise=noise)
            took.append(clock() - begin)
    return (took[1] - took[0]) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights/mini")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    set_seed(0)
    model = load(given.model).to("cuda" if torch.cuda.is_available() else "cpu")
    clip = Clip(*clip_of(model, max(2, given.batch)))
    theirs = published(model, clip, given.batch, given.steps)
    least = floor(model, clip, given.batch, given.steps)
    own = ours(model, clip, given.batch, given.steps)
    print(
        f"a step of {given.batch}: published {theirs:.2f} s, ours {own:.2f} s: "
        f"{theirs / own:.2f}x; {own / least:.2f} times the networks alone ({least:.2f} s)"
    )


if __name__ == "__main__":
    main()
