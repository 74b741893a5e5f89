"""`python -m dreampose_core VERB`: every stage of the model as a program with explicit arguments.

Reading order: frames → base → finetune-unet, finetune-vae → sample → assemble → evaluate;
`train-autoencoder` and `train-base` are the recipe of the shipped weights.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from common.program import main


@dataclass(frozen=True)
class Frames:
    """A photo or clip to a frames folder."""

    input: Path
    out: Path
    fps: float = 0.0
    """frames per second to keep; 0 keeps the source's"""
    start: float = 0.0
    """seconds to skip"""
    end: float = 0.0
    """second to stop at; 0 is the end"""
    max_frames: int = 0
    """stop after so many frames; 0 keeps all"""
    max_side: int = 1280
    """scale down so that the longer side has at most so many pixels"""

    def run(self) -> None:
        from dreampose_core.extract import extract_frames

        extract_frames(**vars(self))


@dataclass(frozen=True)
class Assemble:
    """A samples folder to an mp4, the same bytes every time."""

    samples: Path
    out: Path
    crf: int = 16
    """x264 quality: lower is better and larger"""
    scale: int = 1
    """enlarge every pixel so many times"""

    def run(self) -> None:
        from dreampose_core.assemble import assemble

        assemble(**vars(self))


@dataclass(frozen=True)
class Evaluate:
    """Metrics and a contact sheet of a render."""

    samples: Path
    subject: Path
    """frames folder of the subject"""
    driving: Path
    """frames folder of the driving clip"""
    poses: Path
    """poses folder of the render"""
    out: Path
    truth: Path | None = None
    """frames folder of the true answer, where one exists"""
    columns: int = 6
    """frames on the contact sheet"""

    def run(self) -> None:
        from dreampose_core.evaluate import evaluate

        evaluate(**vars(self))


@dataclass(frozen=True)
class Training:
    """What every training has in common."""

    steps: int
    batch_size: int = 16
    learning_rate: float = 1e-4
    warmup_steps: int = 50
    final_rate: float = 0.03
    """last learning rate as a share of the first (cosine)"""
    weight_decay: float = 0.01
    ema_decay: float = 0.0
    """0 keeps the last weights instead of their moving average"""
    accumulation: int = 1
    """micro-batches a step's batch is cut into"""
    mixed_precision: str = "no"
    """no, bf16 or fp16"""
    seed: int = 0
    checkpoint_every: int = 500
    """steps between checkpoints; a killed run goes on at the last one"""
    evaluate_every: int = 0
    """steps between measurements on held-out data; 0 for the end only"""

    def settings(self):  # noqa: ANN201
        """The part of the arguments that the loop reads."""
        from dataclasses import fields

        from common.training import TrainingSettings

        return TrainingSettings(**{f.name: getattr(self, f.name) for f in fields(Training)})


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoder(Training):
    """Recipe: the small autoencoder on a mannequin shard."""

    architecture: Path
    data: Path
    validation: Path
    out: Path

    def run(self) -> None:
        from dreampose_core.train_autoencoder import train_autoencoder

        train_autoencoder(
            self.architecture, self.data, self.validation, self.out, self.settings()
        )


@dataclass(frozen=True)
class EncodeShard:
    """Recipe: latents, pose maps and warped references of a shard, computed once."""

    architecture: Path
    vae: Path
    data: Path
    out: Path
    seed: int = 0
    workers: int = 1

    def run(self) -> None:
        from dreampose_core.encode_shard import encode_shard

        encode_shard(**vars(self))


@dataclass(frozen=True, kw_only=True)
class TrainBase(Training):
    """Recipe: the small base model on an encoded shard."""

    architecture: Path
    vae: Path
    data: Path
    encoded: Path
    validation: Path
    validation_encoded: Path
    out: Path
    dropout: float = 0.05
    """share of samples that lose the image, the pose, or both"""

    def run(self) -> None:
        from dreampose_core.train_base import train_base

        train_base(
            self.architecture,
            self.vae,
            self.data,
            self.encoded,
            self.validation,
            self.validation_encoded,
            self.out,
            self.dropout,
            self.settings(),
        )


VERBS = {
    "frames": Frames,
    "assemble": Assemble,
    "evaluate": Evaluate,
    "train-autoencoder": TrainAutoencoder,
    "encode-shard": EncodeShard,
    "train-base": TrainBase,
}

if __name__ == "__main__":
    sys.exit(main("python -m dreampose_core", VERBS))
