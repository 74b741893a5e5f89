"""Recipe, last step: how good a small model is on held-out subjects in a held-out motion.

One photo of each subject (the first frame of one clip) is carried into the poses of another clip,
and compared with the true frames. Beside the model stand what needs no learning: the photo
itself, the warp of the body's surface, that warp with what lies beside the body; and the
autoencoder's own round trip, the ceiling.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from common.files import publish, write_json, write_text
from common.images import sheet, write_png
from common.progress import track
from common.settings import NoiseSettings, Sampling, TrainingSettings
from common.shards import Shard, open_shard, views
from common.training import resume_folder
from dreampose_core.finetune import personalize
from dreampose_core.metrics import masked_psnr, masked_ssim, psnr, ssim
from dreampose_core.model import load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.pixels import decode, encode, to_frames, to_tensor
from dreampose_core.subject import Clip
from dreampose_core.warp import backdrop, reference_surface, warp

_CLOTHES_DIFFERENCE, _DILATION = 14, 5
_SHEET_SUBJECTS, _SHEET_FRAMES = 6, 6
Method = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Photo (H, W, 3), its IUV, IUV of the poses (T, H, W, 3) to frames (T, H, W, 3), all uint8."""


def person_mask(frames: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Dilated mask (T, H, W) of what differs from the empty backdrop (H, W, 3)."""
    apart = np.abs(frames.astype(np.int16) - empty).max(-1) > _CLOTHES_DIFFERENCE
    kernel = np.ones((_DILATION, _DILATION), np.uint8)
    return np.stack([cv2.dilate(mask.astype(np.uint8), kernel) > 0 for mask in apart])


def copied(photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """The photo itself."""
    return np.repeat(photo[None], len(poses), 0)


def warped(photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """The photo's pixels through matching surface points, on the empty backdrop."""
    surface, empty = reference_surface(iuv), backdrop(photo, iuv)
    frames = [warp(photo, surface, iuv, empty, pose)[0] for pose in poses]
    return np.where(poses[..., :1] > 0, frames, empty)


def extended(photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """The warp together with what lies beside the body: what the model is given."""
    surface, empty = reference_surface(iuv), backdrop(photo, iuv)
    return np.stack([warp(photo, surface, iuv, empty, pose)[0] for pose in poses])


def sampled(model: DreamPosePipeline, sampling: Sampling) -> Method:
    """The model's frames."""

    def method(photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray) -> np.ndarray:
        reference = model.look(photo, iuv)
        return model(reference, model.pose(reference, poses), sampling)

    return method


def personalized(
    base: Path, out: Path, sampling: Sampling, settings: TrainingSettings, noise: NoiseSettings
) -> Method:
    """The frames of a model finetuned to the photo."""

    def method(photo: np.ndarray, iuv: np.ndarray, poses: np.ndarray) -> np.ndarray:
        model = load(str(base))
        clip = Clip(photo[None], iuv[None])
        folder = resume_folder(out)
        personalize(model, clip, folder, settings, pairs=24, noise=noise)
        return sampled(model, sampling)(photo, iuv, poses)

    return method


@torch.no_grad()
def round_trip(model: DreamPosePipeline, frames: np.ndarray) -> np.ndarray:
    """True frames encoded and decoded."""
    return to_frames(decode(model.vae, encode(model.vae, to_tensor(frames))))


def evaluate_base(
    model: Path,
    data: Path,
    out: Path,
    subjects: int,
    finetuned_subjects: int,
    sampling: Sampling,
    finetune: TrainingSettings,
    noise: NoiseSettings,
) -> None:
    """Write `figures.json`, `table.md` and `sheet.png` of a model folder on a shard."""
    shard, loaded = open_shard(data), load(str(model))
    methods: dict[str, Method] = {
        "copy the photo": copied,
        "surface warp": warped,
        "extended warp": extended,
        "model": sampled(loaded, sampling),
    }
    rows: list[dict] = []
    pictures: list[list[np.ndarray]] = []
    for subject in track(range(subjects), "evaluating"):
        photo, iuv = (np.array(part[subject, 0, 0]) for part in (shard.rgb, shard.iuv))
        truth, poses = (np.array(part[subject, 1]) for part in (shard.rgb, shard.iuv))
        results = {name: method(photo, iuv, poses) for name, method in methods.items()}
        results["round trip"] = round_trip(loaded, truth)
        if subject < finetuned_subjects:
            method = personalized(model, out, sampling, finetune, noise)
            results["model, finetuned"] = method(photo, iuv, poses)
        rows += _figures(shard, subject, results, truth, backdrop(photo, iuv))
        if subject < _SHEET_SUBJECTS:
            some = np.linspace(0, len(truth) - 1, _SHEET_FRAMES).astype(int)
            pictures += [
                [photo, *frames[some]]
                for frames in (truth, results["extended warp"], results["model"])
            ]
    summary = _summary(rows)
    with publish(out) as partial:
        partial.mkdir()
        write_json(partial / "figures.json", {"sampling": vars(sampling), "summary": summary})
        write_text(partial / "table.md", _table(summary))
        write_png(partial / "sheet.png", sheet(pictures))
    print(_table(summary))


def _figures(
    shard: Shard, subject: int, results: dict, truth: np.ndarray, empty: np.ndarray
) -> list[dict]:
    """One row a method and frame."""
    sides = views(np.array(shard.yaw[subject, 1]))
    rows = []
    for name, frames in results.items():
        mask = person_mask(truth, empty) | person_mask(frames, empty)
        for index, side in enumerate(sides):
            a, b, area = frames[index], truth[index], mask[index]
            rows.append(
                {
                    "method": name,
                    "subject": subject,
                    "view": str(side),
                    "psnr": psnr(a, b),
                    "ssim": ssim(a, b),
                    "mask_psnr": masked_psnr(a, b, area),
                    "mask_ssim": masked_ssim(a, b, area),
                }
            )
    return rows


def _summary(rows: list[dict]) -> list[dict]:
    """Means a method and view; a method that saw fewer subjects says how many frames."""
    summary = []
    for method in dict.fromkeys(row["method"] for row in rows):
        for view in ("all", "front", "side", "back"):
            some = [r for r in rows if r["method"] == method and view in ("all", r["view"])]
            means = {
                name: float(np.mean([row[name] for row in some]))
                for name in ("psnr", "ssim", "mask_psnr", "mask_ssim")
            }
            summary.append({"method": method, "view": view, "frames": len(some)} | means)
    seen = {row["subject"] for row in rows if row["method"] == "model, finetuned"}
    before = [r for r in rows if r["method"] == "model" and r["subject"] in seen]
    if before:
        names = ("psnr", "ssim", "mask_psnr", "mask_ssim")
        means = {name: float(np.mean([row[name] for row in before])) for name in names}
        same = {"method": "model, same subjects", "view": "all", "frames": len(before)}
        summary.append(same | means)
    return summary


def _table(summary: list[dict]) -> str:
    lines = [
        "| | view | frames | PSNR | SSIM | person PSNR | person SSIM |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in summary:
        lines.append(
            f"| {r['method']} | {r['view']} | {r['frames']} | {r['psnr']:.2f} | {r['ssim']:.3f} "
            f"| {r['mask_psnr']:.2f} | {r['mask_ssim']:.3f} |"
        )
    return "\n".join(lines) + "\n"
