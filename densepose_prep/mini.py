"""Backend `mini`: the embedded IUV network, one person a frame, chart `mannequin`.

It writes what DensePose's own program writes: a box, a score, and labels with U, V of the box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from common.errors import InputError
from common.files import folder_hash
from common.images import Fit
from densepose_prep.dump import ChartResult, Detections, Origin
from densepose_prep.network import IuvNetwork, of_label, split_outputs, to_picture

_SMALLEST = 0.005
"""Share of the picture below which a silhouette is no person."""


class MiniBackend:
    """Loads the network once and detects in batches. Raises InputError for missing weights."""

    def __init__(self, weights: Path, batch_size: int = 8):
        try:
            network = IuvNetwork.from_pretrained(weights)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no IUV weights at {weights} ({str(error).splitlines()[0]})",
                "the shipped ones are in weights/mini/iuv",
            ) from None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = network.float().eval().to(self.device, memory_format=torch.channels_last)
        self.origin = Origin(network.config.chart, "mini", folder_hash(weights))
        self.batch_size = batch_size

    def detect(self, named_frames: Iterable[tuple[str, np.ndarray]]) -> Iterator[Detections]:
        """Detections of (file name, RGB uint8 (H, W, 3)) frames, in order."""
        remaining = iter(named_frames)
        while batch := list(islice(remaining, self.batch_size)):
            fits = [Fit.whole(frame.shape[:2], self.network.size) for _, frame in batch]
            inputs = [fit.apply(frame) for fit, (_, frame) in zip(fits, batch, strict=True)]
            pixels = torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2).to(self.device)
            with torch.no_grad():
                outputs = self.network(to_picture(pixels)).float().cpu()
            for (name, _), fit, output in zip(batch, fits, outputs, strict=True):
                yield _detections(name, fit, output[None])


def _detections(name: str, fit: Fit, output: torch.Tensor) -> Detections:
    """The largest silhouette of one frame as a detection in the frame's own pixels."""
    logits, u, v = split_outputs(_unfitted(output, fit))
    shares = logits.softmax(1)
    labels = shares.argmax(1)
    mask, box = _largest((labels[0] > 0).numpy())
    if box is None:
        return Detections(name, torch.zeros(0), torch.zeros(0, 4), [])
    x0, y0, x1, y1 = box
    labels = labels * torch.from_numpy(mask)
    uv = torch.cat([of_label(u, labels), of_label(v, labels)]).clamp(0, 1)
    score = (1 - shares[0, 0])[torch.from_numpy(mask)].mean()
    result = ChartResult(labels[0, y0:y1, x0:x1], uv[:, y0:y1, x0:x1])
    return Detections(name, score[None], torch.tensor([[x0, y0, x1, y1]]).float(), [result])


def _unfitted(output: torch.Tensor, fit: Fit) -> torch.Tensor:
    """Network outputs (1, C, h, w) on the pixels of the frame (1, C, H, W)."""
    x0, y0, x1, y1 = fit.inner
    inner = output[..., y0:y1, x0:x1]
    if inner.shape[2:] == fit.source:
        return inner
    return F.interpolate(inner, fit.source, mode="bilinear", align_corners=False)


def _largest(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int] | None]:
    """The largest connected region of a mask (H, W) and its box, None where it is too small."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask, None
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x, y, width, height, area = (int(value) for value in stats[best])
    if area < _SMALLEST * mask.size:
        return mask, None
    return labels == best, (x, y, x + width, y + height)
