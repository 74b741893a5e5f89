"""The paper's model at full size with random weights: does it run here, how long, in what memory.

`python bench/full_size.py sample` makes one frame of 640×512 in 2 steps with all three branches;
`… train` takes subject finetuning steps with a memory preset (`--memory 12gb`: gradient
checkpointing and Adafactor). Prints seconds and the process's peak memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from common.settings import NoiseSettings, Sampling, TrainingSettings
from dreampose_core.finetune import personalize
from dreampose_core.model import build
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.subject import Clip

ARCHITECTURE = Path(__file__).parents[1] / "presets/architectures/sd14.json"


def pictures(model: DreamPosePipeline) -> Clip:
    """Two frames of noise with a body of noise, at the model's size."""
    config, random = model.conditioning.config, np.random.default_rng(0)
    frames = random.integers(0, 256, (2, config.height, config.width, 3), np.uint8)
    iuv = random.integers(0, 256, frames.shape, np.uint8)
    iuv[..., 0] %= 25
    return Clip(frames, iuv)


def sample(model: DreamPosePipeline, steps: int, half: bool) -> None:
    """One frame with all three branches."""
    if torch.cuda.is_available():
        model.to("cuda", torch.float16 if half else torch.float32)
    clip = pictures(model)
    reference = model.look(clip.frames[0], clip.iuv[0])
    frames = model(
        reference, model.pose(reference, clip.iuv[:1]), Sampling(steps=steps, s1=8, s2=3)
    )
    assert frames.shape == (1, 640, 512, 3)


def train(model: DreamPosePipeline, steps: int, memory: str) -> None:
    """Steps of the subject finetuning, a batch of one."""
    settings = TrainingSettings(steps=steps, batch_size=1, memory=memory, checkpoint_every=0)
    with tempfile.TemporaryDirectory() as folder:
        resume = Path(folder) / "resume"
        personalize(model, pictures(model), resume, settings, pairs=1, noise=NoiseSettings())


def peak() -> str:
    """The process's peak memory, and the GPU's."""
    text = f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.1f} GB"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        text += f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB on the {name}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("sample", "train"))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--memory", default="12gb")
    parser.add_argument("--half", action="store_true")
    given = parser.parse_args()
    begin = time.perf_counter()
    model = build(ARCHITECTURE)
    built = time.perf_counter()
    if given.what == "sample":
        sample(model, given.steps, given.half)
    else:
        train(model, given.steps, given.memory)
    seconds = time.perf_counter() - built
    print(
        f"{given.what}, {given.steps} steps: {seconds:.0f} s after {built - begin:.0f} s to build "
        f"the model; {peak()}"
    )


if __name__ == "__main__":
    main()
