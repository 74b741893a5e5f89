"""Recipe: the small IUV network, trained on a mannequin shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from common.files import publish, write_json
from common.pose_error import NO_PIXELS, PoseError, part_iou, pose_error, summary
from common.poses import PARTS
from common.progress import track
from common.shards import Shard, open_shard
from common.training import Batch, TrainingSettings, resume_folder, train, write_curves
from densepose_prep.augment import augmented, degraded
from densepose_prep.mirror import both_ways
from densepose_prep.network import (
    LABELS,
    IuvConfig,
    IuvNetwork,
    of_label,
    split_outputs,
    to_picture,
)

_UV_WEIGHT, _DICE_WEIGHT = 4.0, 0.5
_MEASURED_FRAMES = 128


class IuvProblem(nn.Module):
    """Cross entropy and soft Dice over the parts, L1 of U and V in the true part's channel."""

    def __init__(self, network: IuvNetwork):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> Tensor:
        picture = to_picture(batch["frames"]).contiguous(memory_format=torch.channels_last)
        logits, surface = self.network.heads(picture)
        labels = batch["labels"].flatten()
        shares = logits.permute(0, 2, 3, 1).reshape(-1, LABELS).float().log_softmax(1)
        own = shares.gather(1, labels[:, None])[:, 0]
        wrong = surface_error(surface.float(), batch["labels"], batch["uv"])
        dice = soft_dice(shares.exp(), own.exp(), labels)
        return -own.mean() + _DICE_WEIGHT * dice + _UV_WEIGHT * wrong


def soft_dice(shares: Tensor, own: Tensor, labels: Tensor) -> Tensor:
    """1 − mean soft Dice of the labels (N,) that occur (Milletari et al. 2016).

    `shares` (N, 25) are the pixels' predicted probabilities, `own` (N,) the true label's.
    """
    both = own.new_zeros(LABELS).index_add(0, labels, own)
    count = torch.bincount(labels, minlength=LABELS)
    present = count > 0
    return 1 - (2 * both[present] / (shares.sum(0) + count)[present]).mean()


def surface_error(surface: Tensor, labels: Tensor, uv: Tensor) -> Tensor:
    """Mean |ΔU| + |ΔV| of U, V maps (B, 48, H/2, W/2) in the true part's channel.

    Of each 2×2 pixels the highest part number counts, with its mean true U, V.
    """
    cells = F.pixel_unshuffle(labels[:, None].float(), 2)
    top = cells.amax(1, keepdim=True)
    own = (cells == top).float()
    truth = (F.pixel_unshuffle(uv, 2).unflatten(1, (2, 4)) * own[:, None]).sum(2)
    truth = (truth / own.sum(1)[:, None]).permute(0, 2, 3, 1)
    part = top[:, 0].long()
    body = part > 0
    found = surface.unflatten(1, (2, PARTS)).permute(0, 3, 4, 2, 1)[body]
    found = found.gather(1, (part[body] - 1)[:, None, None].expand(-1, 1, 2))[:, 0]
    return (found - truth[body]).abs().sum() / max(1, len(found))


def pairs_of(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """Frames and IUV (N, H, W, 3) uint8 of a shard, memory-mapped."""
    return tuple(array.reshape(-1, *array.shape[3:]) for array in (shard.rgb, shard.iuv))


def train_iuv(data: Path, validation: Path, out: Path, settings: TrainingSettings) -> None:
    """Train on the shard `data`; write a diffusers folder with the curve to `out`."""
    shard = open_shard(data)
    (rgb, iuv), held_out = pairs_of(shard), pairs_of(open_shard(validation))
    chances = shard.balance().ravel()
    torch.manual_seed(settings.seed)
    network = IuvNetwork(IuvConfig(*rgb.shape[1:3]))
    if any(side % network.stride for side in network.size):
        raise InputError(
            f"frames of {network.size[0]}×{network.size[1]} do not fit the network",
            f"render them with sides that are multiples of {network.stride}",
        )

    def draw(generator: torch.Generator) -> Batch:
        seed = int(torch.randint(2**62, (1,), generator=generator))
        random = np.random.default_rng(seed)
        index = random.choice(len(rgb), settings.batch_size, p=chances)
        pairs = [augmented(np.array(rgb[i]), np.array(iuv[i]), random) for i in index]
        frames, maps = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        return {
            "frames": frames.permute(0, 3, 1, 2),
            "labels": maps[..., 0].long(),
            "uv": maps[..., 1:].permute(0, 3, 1, 2).float() / 255,
        }

    some = np.linspace(0, len(held_out[0]) - 1, _MEASURED_FRAMES).astype(int)
    history = train(
        IuvProblem(network),
        draw,
        settings,
        resume_folder(out),
        label="iuv network",
        inputs={"data": shard.key},
        evaluate=lambda: summary(error_of(network, held_out[0][some], held_out[1][some])),
    )
    with publish(out) as partial:
        network.half().save(partial)
        write_curves(history, partial / "training")


@torch.no_grad()
def estimated(network: IuvNetwork, rgb: np.ndarray) -> np.ndarray:
    """IUV (N, H, W, 3) uint8 of frames (N, H, W, 3) uint8 of the network's size."""
    device = next(network.parameters()).device
    frames = torch.from_numpy(np.array(rgb)).permute(0, 3, 1, 2).to(device)
    logits, u, v = split_outputs(both_ways(network, to_picture(frames)))
    labels = logits.argmax(1)
    uv = torch.stack([of_label(u, labels), of_label(v, labels)], -1).clamp(0, 1)
    surface = (255 * uv * (labels > 0)[..., None]).round()
    return torch.cat([labels[..., None], surface], -1).to(torch.uint8).cpu().numpy()


def error_of(network: IuvNetwork, rgb: np.ndarray, iuv: np.ndarray, batch: int = 16) -> PoseError:
    """Compare the network with the truth on frames and IUV (N, H, W, 3) uint8."""
    parts = (slice(start, start + batch) for start in range(0, len(rgb), batch))
    return sum((pose_error(estimated(network, rgb[p]), iuv[p]) for p in parts), NO_PIXELS)


def evaluate_iuv(weights: Path, data: Path, out: Path, seed: int) -> None:
    """Figures of a trained network on a shard, clean and degraded, to a JSON file."""
    network = IuvNetwork.load(weights)
    shard = open_shard(data)
    rgb, iuv = pairs_of(shard)
    random = np.random.default_rng(seed)
    noisy = np.stack([degraded(np.array(frame), random) for frame in track(rgb, "degrading")])
    figures = {"data": shard.meta["split"], "frames": len(rgb)}
    for name, frames in (("clean", rgb), ("degraded", noisy)):
        result = error_of(network, frames, iuv)
        per_part = part_iou(result.counts)
        figures[name] = summary(result) | {
            "per_part": {
                str(p + 1): None if np.isnan(per_part[p]) else round(float(per_part[p]), 4)
                for p in range(PARTS)
            }
        }
    write_json(out, figures)
