"""How much memory a training needs, said before it starts."""

from __future__ import annotations

import psutil
import torch
from torch import nn

from common.errors import LESS_MEMORY, InputError
from common.settings import TrainingSettings

GB = 1e9
_OPTIMIZER_BYTES = {"adamw": 8.0, "adamw8bit": 2.0, "adafactor": 0.02}
"""Bytes of state for each trained parameter."""
_TELL = 1 * GB
Needs = dict[str, float]


def training_needs(problem: nn.Module, settings: TrainingSettings, activations: int) -> Needs:
    """Bytes a process needs, by what for; `settings` are those of its device (`fitted`).

    All but the activations are exact up to the allocator's rounding.
    """
    parameters = list(problem.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    stored = sum(p.numel() * p.element_size() for p in parameters)
    halves = 2.0 * trained * (settings.mixed_precision != "no")
    state = _OPTIMIZER_BYTES[settings.optimizer] + 4 * (settings.ema_decay > 0)
    return {
        "weights": float(stored),
        "half copies": halves,
        "gradients": 4.0 * trained,
        "optimizer": state * trained,
        "activations": float(activations),
    }


def free(device: torch.device) -> float:
    """Bytes that can be had now on the device, or of the machine's memory."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def check(label: str, needs: Needs, device: torch.device) -> None:
    """Compare what is needed with what is free; says so where it is much.

    Raises InputError where weights, gradients and optimizer alone cannot fit. On the CPU the
    weights are there already.
    """
    lacking = dict(needs) if device.type == "cuda" else needs | {"weights": 0.0}
    there, total = free(device), sum(lacking.values())
    parts = ", ".join(f"{name} {size / GB:.1f}" for name, size in lacking.items() if size)
    need = f"{label} needs about {total / GB:.1f} GB ({parts}), {there / GB:.1f} GB are free"
    if total - lacking["activations"] > there:
        raise InputError(need, LESS_MEMORY)
    if total > there:
        need += f": it may not suffice; {LESS_MEMORY}"
    if total > min(there, _TELL):
        print(need, flush=True)
