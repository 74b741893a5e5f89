"""Backend `rcnn`: DensePose R50-FPN s1x, chart `densepose`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch

from common.batches import Batches
from common.images import Size
from densepose_prep.dump import Detections, Origin
from densepose_prep.rcnn.boxes import clipped, filled
from densepose_prep.rcnn.chart import chart_result
from densepose_prep.rcnn.heads import Surface
from densepose_prep.rcnn.network import Found
from densepose_prep.rcnn.picture import network_size, prepared, resized
from densepose_prep.rcnn.weights import load, local


class RcnnBackend:
    """Loads the network once and detects in batches. Raises InputError for unusable weights."""

    def __init__(self, weights: str, batch_size: int, persons: int):
        network, digest = load(local(weights))
        cuda = torch.cuda.is_available()
        self.network = network.to("cuda", torch.float16) if cuda else network
        self.origin = Origin("densepose", "rcnn", digest)
        self.batches, self.persons = Batches(batch_size), persons

    def detect(self, named_frames: Iterable[tuple[str, np.ndarray]]) -> Iterator[Detections]:
        """Detections of (file name, RGB uint8 (H, W, 3)) frames of one size, in order."""
        remaining = iter(named_frames)
        while batch := list(islice(remaining, self.batches.size)):
            names, frames = zip(*batch, strict=True)
            size = frames[0].shape[:2]
            inner = network_size(size)
            for these, found in self.batches(len(frames), partial(self._find, frames, inner)):
                for index, name in enumerate(names[these.start : these.stop]):
                    yield detections(name, found, index, inner, size)

    def _find(self, frames: Sequence[np.ndarray], inner: Size, start: int, stop: int) -> Found:
        pictures = [resized(frame, inner) for frame in frames[start:stop]]
        like = next(self.network.parameters())
        return self.network(prepared(pictures, like), inner, self.persons)


def detections(name: str, found: Found, index: int, inner: Size, size: Size) -> Detections:
    """What was found in picture `index` of size `inner`, in the pixels of the frame's `size`."""
    mine = found.images == index
    scale = found.boxes.new_tensor([size[1] / inner[1], size[0] / inner[0]] * 2)
    boxes = clipped(found.boxes[mine] * scale, size)
    rows = mine.nonzero()[:, 0][filled(boxes)]
    boxes = boxes[filled(boxes)].cpu()
    results = [
        chart_result(Surface(*(values[row] for values in found.surface)), box)
        for row, box in zip(rows, boxes, strict=True)
    ]
    return Detections(name, found.scores[rows].cpu(), boxes, results)
