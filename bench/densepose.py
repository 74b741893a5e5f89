"""DensePose: frames a second of `rcnn`, beside the floor and, where it is installed, detectron2.

The floor is the time of the network's convolutions and matrix products alone, on what they were
given, in the same run: `python bench/densepose.py`. Without a file of weights random ones do, that
see one person, who takes a third of the frame or more.
"""

from __future__ import annotations

import argparse
import math
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common.errors import InputError
from densepose_prep.detectron2_backend import Detectron2Backend
from densepose_prep.rcnn import weights
from densepose_prep.rcnn.backend import RcnnBackend

_PRODUCTS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_GROWTH = 5 * math.log(1000 / 16)
"""Makes every box as large as a box may become."""


def random_arrays() -> dict[str, np.ndarray]:
    """Arrays of the official names and shapes that keep activations near 1."""
    random = np.random.default_rng(0)
    with torch.device("meta"):
        shapes = weights.official_shapes(weights.DensePoseRcnn())
    arrays = {}
    for name, shape in shapes.items():
        arrays[name] = np.zeros(shape, np.float32)
        if name.endswith("running_var"):
            arrays[name] += 1
        elif name.endswith(".norm.weight"):
            arrays[name] += 0.5
        elif len(shape) > 1:
            gain = math.sqrt(2 / np.prod(shape[1:]))
            arrays[name] = gain * random.standard_normal(shape, np.float32)
    arrays["backbone.bottom_up.stem.conv1.norm.running_var"] += 1e4
    arrays["roi_heads.box_predictor.cls_score.weight"] *= 0
    arrays["roi_heads.box_predictor.cls_score.bias"][0] = 9
    arrays["roi_heads.box_predictor.bbox_pred.weight"] *= 0
    arrays["roi_heads.box_predictor.bbox_pred.bias"][2:] = _GROWTH
    return arrays


def seconds(work: Callable[[], object]) -> float:
    """Wall time of `work`, to the end of what it gave the GPU."""
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def peak(who: int = resource.RUSAGE_SELF) -> float:
    """GB that a process, or the largest of its children, held at most; on a GPU, there."""
    if torch.cuda.is_available() and who == resource.RUSAGE_SELF:
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(who).ru_maxrss * 1024 / 1e9


@torch.inference_mode()
def products_of(backend: RcnnBackend, work: Callable[[], object]) -> Callable[[], object]:
    """All convolutions and matrix products that `work` does, on the same inputs."""
    calls: list[tuple[nn.Module, torch.Tensor]] = []
    layers = [module for module in backend.network.modules() if isinstance(module, _PRODUCTS)]
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: calls.append((layer, given[0])))
        for layer in layers
    ]
    work()
    for hook in hooks:
        hook.remove()

    @torch.inference_mode()
    def again() -> None:
        for layer, given in calls:
            layer(given)

    return again


def bench_rcnn(file: str, frames: list[np.ndarray], rounds: int) -> None:
    """Print speed, memory, and the ratio to the floor, one frame at a time, best of all rounds."""
    backend = RcnnBackend(file, batch_size=1, persons=1)

    def detect(frame: np.ndarray) -> list:
        return list(backend.detect([("0.png", frame)]))

    boxes = [box.int().tolist() for frame in frames for box in detect(frame)[0].boxes]
    memory = peak()
    again = products_of(backend, lambda: detect(frames[0]))
    times = [
        (seconds(lambda frame=frame: detect(frame)), seconds(again))
        for _ in range(rounds)
        for frame in frames
    ]
    whole, floor = np.min(times, 0)
    print(
        f"rcnn: {1 / whole:.2f} frames/s ({whole:.2f} s), "
        f"{whole / floor:.2f}x the floor ({floor:.2f} s), "
        f"peak {memory:.2f} GB, persons at {boxes}"
    )


def bench_detectron2(file: str, frames: list[np.ndarray], rounds: int) -> None:
    """The same frames one at a time by the real packages, from the first frame's end."""
    backend = Detectron2Backend(file, persons=1)
    named = [(f"{i}.png", frame) for i, frame in enumerate(frames * rounds + frames[:1])]
    stamps = [time.perf_counter() for _ in backend.detect(named)]
    each = np.diff(stamps).min()
    memory = peak(resource.RUSAGE_CHILDREN)
    print(f"detectron2: {1 / each:.2f} frames/s ({each:.2f} s), peak {memory:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="an official file; random ones by default")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    random = np.random.default_rng(1)
    frames = [random.integers(0, 256, (640, 512, 3), np.uint8) for _ in range(2)]
    print(f"512x640 pixels, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        file = given.weights or str(Path(folder, "random.pkl"))
        if not given.weights:
            with open(file, "wb") as stream:
                pickle.dump({"model": random_arrays(), "__author__": "bench"}, stream)
        bench_rcnn(file, frames, given.rounds)
        try:
            bench_detectron2(file, frames, given.rounds)
        except InputError as error:
            print(f"detectron2: not run ({error.problem})")


if __name__ == "__main__":
    main()
