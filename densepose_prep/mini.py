"""Backend `mini`: the embedded IUV network, one person a frame, chart `mannequin`.

It writes what DensePose's own program writes: a box, a score, and labels with U, V of the box.
A person who is small in the frame is looked at a second time, from closer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Batches
from common.files import folder_hash
from common.images import Fit
from densepose_prep.dump import ChartResult, Detections, Origin
from densepose_prep.mirror import both_ways
from densepose_prep.network import LABELS, IuvNetwork, of_label, split_outputs, to_picture

_SMALLEST = 0.005
"""Share of the picture below which a silhouette is no person."""
_GAP = 0.02
"""Share of the picture's height that may lie between two pieces of one person."""
_MARGIN, _CLOSER = 0.15, 1.25
"""Room around a person looked at again, and the enlargement from which that is worth it."""

NetBox = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the network's picture."""


class MiniBackend:
    """Loads the network once and detects in batches. Raises InputError for missing weights."""

    def __init__(self, weights: Path, batch_size: int = 8):
        network = IuvNetwork.load(weights)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.origin = Origin(network.config.chart, "mini", folder_hash(weights))
        self.batches = Batches(batch_size)

    def detect(self, named_frames: Iterable[tuple[str, np.ndarray]]) -> Iterator[Detections]:
        """Detections of (file name, RGB uint8 (H, W, 3)) frames, in order."""
        remaining = iter(named_frames)
        while batch := list(islice(remaining, self.batches.size)):
            names, frames = zip(*batch, strict=True)
            fits = [Fit.whole(frame.shape[:2], self.network.size) for frame in frames]
            outputs = self._look(frames, fits)
            again = {}
            for index, (fit, output) in enumerate(zip(fits, outputs, strict=True)):
                if nearer := closer(fit, output):
                    again[index] = nearer
            if again:
                second = self._look([frames[index] for index in again], list(again.values()))
                for (index, fit), output in zip(again.items(), second, strict=True):
                    fits[index], outputs[index] = fit, output
            for name, fit, output in zip(names, fits, outputs, strict=True):
                yield detection(name, fit, output)

    @torch.no_grad()
    def _look(self, frames: Sequence[np.ndarray], fits: Sequence[Fit]) -> list[Tensor]:
        """The network's outputs (73, h, w) float32 on the CPU for each fitted frame."""
        fitted = [fit.apply(frame) for fit, frame in zip(fits, frames, strict=True)]

        def look(start: int, stop: int) -> Tensor:
            pixels = torch.from_numpy(np.stack(fitted[start:stop])).permute(0, 3, 1, 2)
            pictures = to_picture(pixels.to(self.device))
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            return both_ways(self.network, pictures).cpu()

        return [row for _, rows in self.batches(len(fitted), look) for row in rows]


def closer(fit: Fit, output: Tensor) -> Fit | None:
    """The fit around the person seen in `output`, where that enlarges the person enough."""
    _, box = silhouette(fit, output)
    if box is None:
        return None
    x0, y0, x1, y1 = in_frame(fit, box)
    margin = _MARGIN * max(x1 - x0, y1 - y0)
    crop = (
        max(0, int(x0 - margin)),
        max(0, int(y0 - margin)),
        min(fit.source[1], int(np.ceil(x1 + margin))),
        min(fit.source[0], int(np.ceil(y1 + margin))),
    )
    nearer = Fit(fit.source, fit.size, crop)
    return nearer if _scale(nearer) >= _CLOSER * _scale(fit) else None


def _scale(fit: Fit) -> float:
    """Network pixels a frame pixel."""
    x0, y0, x1, y1 = fit.crop
    return min(fit.size[0] / (y1 - y0), fit.size[1] / (x1 - x0))


def silhouette(fit: Fit, output: Tensor) -> tuple[np.ndarray, NetBox | None]:
    """The person in `output` (73, h, w): a mask (h, w) of body pixels, and the person's box.

    Pieces close to each other are one person (a hand behind a skirt, say); the largest one
    counts. The box is None where nobody is seen.
    """
    x0, y0, x1, y1 = fit.inner
    body = np.zeros(fit.size, bool)
    logits = output[:LABELS, y0:y1, x0:x1]
    body[y0:y1, x0:x1] = logits[1:].amax(0) > logits[0]
    reach = np.ones(2 * [2 * int(np.ceil(_GAP * fit.size[0])) + 1], np.uint8)
    count, pieces = cv2.connectedComponents(cv2.dilate(body.astype(np.uint8), reach))
    areas = np.bincount(pieces[body], minlength=count)
    mask = body & (pieces == areas.argmax())
    if areas.max() < _SMALLEST * body.size:
        return mask, None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def in_frame(fit: Fit, box: NetBox) -> tuple[int, int, int, int]:
    """A box of the network's picture in whole pixels of the frame, at least one."""
    inner, crop = np.array(fit.inner), np.array(fit.crop)
    scale = (crop[2:] - crop[:2]) / (inner[2:] - inner[:2])
    corners = np.rint((np.array(box).reshape(2, 2) - inner[:2]) * scale + crop[:2]).astype(int)
    x0, y0 = (int(value) for value in np.minimum(corners[0], crop[2:] - 1))
    x1, y1 = (int(value) for value in np.maximum(corners[1], [x0 + 1, y0 + 1]))
    return x0, y0, x1, y1


def detection(name: str, fit: Fit, output: Tensor) -> Detections:
    """The person seen in the network's `output` (73, h, w), in the frame's own pixels.

    As in DensePose the outputs under the box are enlarged to its size before the part is chosen.
    """
    mask, box = silhouette(fit, output)
    if box is None:
        return Detections(name, torch.zeros(0), torch.zeros(0, 4), [])
    left, top, right, bottom = in_frame(fit, box)
    x0, y0, x1, y1 = box
    size = bottom - top, right - left
    logits, u, v = split_outputs(
        F.interpolate(output[None, :, y0:y1, x0:x1], size, mode="bilinear", align_corners=False)
    )
    own = cv2.dilate(mask[y0:y1, x0:x1].astype(np.uint8), np.ones((3, 3), np.uint8))
    own = cv2.resize(own, size[::-1], interpolation=cv2.INTER_NEAREST)
    labels = logits.argmax(1) * torch.from_numpy(own)
    uv = torch.cat([of_label(u, labels), of_label(v, labels)]).clamp(0, 1)
    background = split_outputs(output[None])[0].softmax(1)[0, 0]
    score = 1 - background[torch.from_numpy(mask)].mean()
    boxes = torch.tensor([[left, top, right, bottom]]).float()
    return Detections(name, score[None], boxes, [ChartResult(labels[0], uv)])
