"""Seeded DensePose weights, the same numbers everywhere, that the reference values rest on.

`fixtures/densepose/stages.npz` holds what detectron2 (02b5c4e2, torch 2.12.1, float32 on a CPU)
made of them, sampled at every stage, for pictures of 160×120 at a short side of 200.
"""

import json
import math
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parent / "fixtures/densepose"
SHAPES = {
    name: tuple(shape) for name, shape in json.loads((FIXTURES / "shapes.json").read_text()).items()
}
_GAINS = {
    ".fpn_lateral": 0.1,
    ".fpn_output": 1.0,
    "rpn_head.objectness_logits": 3.0,
    "rpn_head.anchor_deltas": 0.3,
    "box_predictor.cls_score": 4.0,
    "box_predictor.bbox_pred": 1.0,
    ".u_lowres": 0.25,
    ".v_lowres": 0.25,
    "_lowres": 1.0,
    "": math.sqrt(2.0),
}
_SHIFTS = {
    "densepose_predictor.u_lowres.bias": 0.5,
    "densepose_predictor.v_lowres.bias": 0.5,
    "box_predictor.cls_score.bias": [4.0, 0.0],
    "densepose_predictor.ann_index_lowres.bias": [0.0, 4.5],
}


def seeded_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 array that depends on name and shape alone."""
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith(".norm.weight"):
        values = (0.5 if ".conv3.norm." in name else 1.0) * (1.0 + 0.1 * normal)
    elif name.endswith((".norm.bias", ".norm.running_mean")):
        values = 0.1 * normal
    elif name.endswith(".norm.running_var"):
        values = np.clip(1.0 + 0.2 * normal, 0.4, 1.6) * (1.0e4 if ".stem." in name else 1.0)
    elif name.endswith(".bias"):
        shifts = [shift for end, shift in _SHIFTS.items() if name.endswith(end)]
        values = 0.05 * normal + (shifts[0] if shifts else 0.0)
    else:
        gain = next(gain for part, gain in _GAINS.items() if part in name)
        inputs = shape[0] * 4 if "_lowres" in name else math.prod(shape[1:])
        values = normal * (gain / math.sqrt(inputs))
    return values.astype(np.float32)


def seeded_arrays() -> dict[str, np.ndarray]:
    """All 335 arrays of the official file's names and shapes."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SHAPES, pool.map(seeded_array, SHAPES, SHAPES.values()), strict=True))
