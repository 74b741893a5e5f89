"""Recipe, step 7: the detail network, on the drafts that `draft-shard` made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import InputError
from common.files import file_hash, publish, write_json
from common.shards import Shard, open_shard
from common.training import Batch, TrainingSettings, resume_folder, train, write_curves
from dreampose_core.detail import DetailNetwork
from dreampose_core.draft_shard import ARRAYS
from dreampose_core.metrics import psnr, ssim
from dreampose_core.model import build
from dreampose_core.pixels import to_frames, to_tensor

_MEASURED_FRAMES = 192
_LEAST = 1e-6


class DetailProblem(nn.Module):
    """Root of each frame's mean squared error: loud patterns do not outweigh plain clothes."""

    def __init__(self, network: DetailNetwork):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> Tensor:
        made = self.network(batch["drafts"], batch["pixels"])
        wrong = made.float() - batch["truth"]
        return (wrong.square().mean((1, 2, 3)) + _LEAST).sqrt().mean()


@dataclass(frozen=True)
class Drafts:
    """A shard and what `draft-shard` made of it."""

    shard: Shard
    arrays: dict[str, np.ndarray]
    chances: Tensor
    """(S, C, T) how often each frame is drawn: front, side and back equally"""

    @classmethod
    def open(cls, shard: Path, drafts: Path) -> Drafts:
        """Open both; raises InputError where a folder is not what it should be."""
        try:
            arrays = {name: np.load(drafts / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        except (OSError, ValueError) as error:
            raise InputError(
                f"{drafts} holds no drafts ({error})",
                "make them with: python -m dreampose_core draft-shard",
            ) from None
        opened = open_shard(shard)
        balance = opened.balance()[: len(arrays["drafts"])]
        return cls(opened, arrays, torch.from_numpy(balance))

    def pick(self, generator: torch.Generator, count: int) -> list[tuple[int, ...]]:
        """Random (subject, clip, frame)."""
        chosen = torch.multinomial(self.chances.flatten(), count, True, generator=generator)
        index = torch.unravel_index(chosen, self.chances.shape)
        return list(zip(*(axis.tolist() for axis in index), strict=True))

    def rows(self, index: list[tuple[int, ...]]) -> Batch:
        """Drafts and truth in [−1, 1], and what the network sees beside the drafts."""
        drafts, pixels = (np.stack([self.arrays[name][i] for i in index]) for name in ARRAYS)
        truth, iuv = (np.stack([a[i] for i in index]) for a in (self.shard.rgb, self.shard.iuv))
        planes = torch.from_numpy(np.concatenate([pixels, iuv], -1)).permute(0, 3, 1, 2)
        return {"drafts": to_tensor(drafts), "truth": to_tensor(truth), "pixels": planes}


def train_detail(
    architecture: Path,
    data: Path,
    drafts: Path,
    validation: Path,
    validation_drafts: Path,
    out: Path,
    settings: TrainingSettings,
) -> None:
    """Train the architecture's detail network; write its folder with the curve to `out`."""
    network = build(architecture, settings.seed).detail
    if network is None:
        raise InputError(
            f"{architecture} has no detail network", "see presets/architectures/mini.json"
        )
    train_data, held_out = Drafts.open(data, drafts), Drafts.open(validation, validation_drafts)
    measured = held_out.pick(torch.Generator().manual_seed(settings.seed), _MEASURED_FRAMES)

    history = train(
        DetailProblem(network),
        lambda generator: train_data.rows(train_data.pick(generator, settings.batch_size)),
        settings,
        resume_folder(out),
        label="detail",
        inputs={
            "drafts": file_hash(drafts / "meta.json"),
            "validation": file_hash(validation_drafts / "meta.json"),
            "architecture": architecture.read_text(),
        },
        evaluate=lambda: measure(network, held_out, measured),
    )
    with publish(out) as partial:
        network.save_pretrained(partial)
        write_curves(history, partial / "training")
        write_json(partial / "training" / "figures.json", history[-1])


@torch.no_grad()
def measure(network: DetailNetwork, data: Drafts, index: list[tuple]) -> dict[str, float]:
    """PSNR and SSIM of held-out frames, and of their drafts."""
    device = next(network.parameters()).device
    pairs = []
    for start in range(0, len(index), 16):
        rows = {k: v.to(device) for k, v in data.rows(index[start : start + 16]).items()}
        made = to_frames(network(rows["drafts"], rows["pixels"]))
        pairs += zip(made, *(to_frames(rows[k]) for k in ("drafts", "truth")), strict=True)
    return {
        "psnr": float(np.mean([psnr(made, truth) for made, _, truth in pairs])),
        "ssim": float(np.mean([ssim(made, truth) for made, _, truth in pairs])),
        "draft_psnr": float(np.mean([psnr(draft, truth) for _, draft, truth in pairs])),
    }
