"""The arguments that trainings have in common; free of torch, so that `--help` is quick.

A verb inherits the groups it takes and hands each on with `group(NoiseSettings, self)`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from common.errors import InputError

Group = TypeVar("Group")
MOST_STEPS, MOST_STRENGTH = 1000, 100
MEMORY: dict[str, dict[str, Any]] = {
    "12gb": {"optimizer": "adafactor", "gradient_checkpointing": True},
    "16gb": {"optimizer": "adamw8bit", "gradient_checkpointing": True},
    "24gb": {"optimizer": "adamw", "gradient_checkpointing": True},
    "40gb": {"optimizer": "adamw", "gradient_checkpointing": False},
}
"""Switches for the full-size UNet (860 M parameters, 640×512) on devices of that size."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How long and how fast `common.training.train` trains."""

    steps: int
    batch_size: int = 16
    learning_rate: float = 1e-4
    warmup_steps: int = 50
    final_rate: float = 0.03
    """last learning rate as a share of the first (cosine)"""
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    """0 keeps the last weights instead of their moving average"""
    accumulation: int = 1
    """micro-batches a step's batch is cut into"""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    optimizer: Literal["adamw", "adamw8bit", "adafactor"] = "adamw"
    """adamw8bit needs bitsandbytes; adafactor keeps next to nothing"""
    gradient_checkpointing: bool = False
    """compute activations twice instead of keeping them"""
    memory: Literal["as-given", "12gb", "16gb", "24gb", "40gb"] = "as-given"
    """sets precision, optimizer, checkpointing and micro-batches of one for such a device"""
    seed: int = 0
    checkpoint_every: int = 500
    """steps between checkpoints; a killed run goes on at the last one"""
    keep_checkpoints: int = 1
    """the last so many are kept while training; a damaged one is passed over"""
    evaluate_every: int = 0
    """steps between measurements on held-out data; 0 for the end only"""
    preview_every: int = 0
    """steps between pictures of what the model can do by now; 0 for none"""

    def fitted(self, processes: int) -> TrainingSettings:
        """These settings with the switches of `memory`, micro-batches of one for each process."""
        if self.memory == "as-given":
            return self
        switches = MEMORY[self.memory]
        accumulation = max(1, self.batch_size // processes)
        return replace(self, **switches, mixed_precision="bf16", accumulation=accumulation)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """What a denoising training draws for every sample."""

    dropout: float = 0.05
    """share of samples that lose the image; as many lose the pose, as many both"""
    time_power: float = 1.0
    """1 draws time steps evenly; more draws noisy ones more often"""
    one_step: float = 0.0
    """share of samples drawn as one-step sampling without noise begins: last time step, zeros"""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample. Raises InputError at a number that cannot be used."""

    steps: int = 20
    s1: float = 1.0
    """strength of the image"""
    s2: float = 1.0
    """strength of the pose"""
    seed: int = 0
    noise_scale: float = 1.0
    """scale of the initial noise: under 1 a small model shows less of its uncertainty as speckle"""
    start_from: Literal["noise", "reference"] = "noise"
    """reference: begin with the noised picture, as the published code does"""
    settle: float = 0.0
    """what differs from the subject's own backdrop by fewer grey levels becomes it, as does what
    is brighter or darker than backdrop and subject; 0: nothing"""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise InputError(f"--steps {self.steps} is out of range", f"give 1 to {MOST_STEPS}")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} is negative", "give a whole number from 0 on")
        for name in ("s1", "s2", "noise_scale", "settle"):
            value = getattr(self, name)
            if not 0 <= value <= MOST_STRENGTH:
                raise InputError(f"--{name} {value} is out of range", f"give 0 to {MOST_STRENGTH}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused as too large, before it is decoded; 0 is no limit."""

    most_megabytes: float = 0.0
    """of a file"""
    most_megapixels: float = 0.0
    """of a picture"""
    most_seconds: float = 0.0
    """of a clip, up to --end where that is given"""
    most_frames: int = 0
    """to keep of a clip"""

    def check(self, what: str, name: str, value: float) -> None:
        """Raises InputError where a `value` is over the limit of that `name`."""
        most = getattr(self, f"most_{name}")
        if most and value > most:
            raise InputError(
                f"{what} has more than {most:g} {name}",
                f"give less of it, or raise limits.{name} in params.yaml",
            )


def group(kind: type[Group], verb: Any) -> Group:
    """The fields of one group of a verb's arguments."""
    return kind(**{field.name: getattr(verb, field.name) for field in fields(kind)})
