"""The one training loop: IUV network, autoencoder, base, subject UNet and subject decoder.

They differ in data, trainable parameters and loss, not in code. A *problem* is a module whose
`forward(batch)` returns the loss; everything random (rows, noise, time steps, dropout) is drawn
by `draw(generator)` into the batch, from a generator seeded by the run's seed and the step. So
step k sees the same numbers whether or not the run was killed before it, and however many
processes share the batch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from torch import Tensor, nn

from common import memory
from common.batches import make_room
from common.errors import InputError, lacks_memory
from common.files import holds, publish, remove, write_json, write_text
from common.images import write_png
from common.progress import Progress
from common.settings import TrainingSettings

_BETAS = (0.9, 0.99)
Batch = dict[str, Tensor]
History = list[dict[str, float]]


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine down to `final_rate` of the peak."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    wave = 0.5 * (1 + math.cos(math.pi * step / max(1, settings.steps)))
    return settings.learning_rate * warm * (settings.final_rate + (1 - settings.final_rate) * wave)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The CPU generator of one step; the two numbers alone decide what it draws.

    Torch's generator reads 32 bits, in which seeds are kept far from each other's steps.
    """
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + step) % 2**32)


def share(batch: Batch, part: int, parts: int) -> Batch:
    """Rows `part`, `part + parts`, … of every tensor of a batch."""
    return {name: rows[part::parts] for name, rows in batch.items()}


@dataclass
class _Counter:
    """Where a checkpoint stands; accelerate stores it with the rest of the state."""

    step: int = 0
    history: History | None = None

    def state_dict(self) -> dict[str, object]:
        return {"step": self.step, "history": self.history}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.step, self.history = state["step"], state["history"]


@dataclass(frozen=True)
class Preview:
    """Pictures RGB uint8 (H, W, 3) that `draw` makes now and then, kept in `folder`."""

    folder: Path
    draw: Callable[[], np.ndarray]


def train(
    problem: nn.Module,
    draw: Callable[[torch.Generator], Batch],
    settings: TrainingSettings,
    resume: Path,
    *,
    label: str = "training",
    inputs: Mapping[str, str] | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
    preview: Preview | None = None,
    activations: Callable[[TrainingSettings], int] | None = None,
) -> History:
    """Train the parameters of `problem` that require a gradient; returns the curve.

    `draw` makes a whole batch of CPU tensors (batch_size rows each). `resume` is a folder for
    the checkpoint; it is used only if settings and `inputs` (names and hashes of the data) are
    the same, and deleted at the end. `evaluate` measures the averaged weights now and then.
    The problem ends on its averaged weights where `ema_decay` is set. `activations` estimates the
    bytes that a step keeps for its way back, to say before the start whether memory suffices.
    A step for which memory does not suffice is done again in smaller pieces, which `pieces` in
    the curve then tells. Raises InputError where the loss is not a number, the batch cannot be
    shared out evenly, or memory cannot suffice.
    """
    set_seed(settings.seed)
    given, processes = settings, PartialState(cpu=not torch.cuda.is_available()).num_processes
    settings = settings.fitted(processes)
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision, cpu=not torch.cuda.is_available()
    )
    parts = processes * settings.accumulation
    if settings.batch_size % parts:
        raise InputError(
            f"a batch of {settings.batch_size} cannot be cut into {parts} equal parts",
            f"give a --batch-size that is a multiple of {parts}",
        )
    trained = [p for p in problem.parameters() if p.requires_grad]
    if settings.gradient_checkpointing:
        _checkpoint_gradients(problem)
    kept = activations(settings) if activations else 0
    if accelerator.is_main_process:
        memory.check(label, memory.training_needs(problem, settings, kept), accelerator.device)
    optimizer = make_optimizer(trained, settings)
    problem, optimizer = accelerator.prepare(problem, optimizer)
    averaged = EMAModel(trained, decay=settings.ema_decay) if settings.ema_decay else None
    counter = _Counter(history=[])
    accelerator.register_for_checkpointing(counter, *([averaged] if averaged else []))

    key = resume / "fingerprint.json"
    fingerprint = {"settings": asdict(given), "inputs": dict(inputs or {})}
    if accelerator.is_main_process and not holds(key, fingerprint):
        remove(resume)
        if preview:
            remove(preview.folder)
        resume.mkdir(parents=True)
        write_json(key, fingerprint)
    accelerator.wait_for_everyone()
    if _load(accelerator, resume):
        accelerator.print(f"{label}: continues at step {counter.step}")

    rank, pieces = accelerator.process_index, settings.accumulation
    with Progress(label, settings.steps, start=counter.step) as progress:
        for step in range(counter.step, settings.steps):
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = share(draw(step_generator(settings.seed, step)), rank, processes)
            problem.train()
            rows = settings.batch_size // processes
            while (loss := _backward(accelerator, problem, batch, pieces, rows)) is None:
                pieces = next(n for n in range(pieces + 1, rows + 1) if rows % n == 0)
                optimizer.zero_grad(set_to_none=True)
                make_room()
                accelerator.print(f"{label}: out of memory, goes on in {pieces} parts a step")
            norm = accelerator.clip_grad_norm_(trained, settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if averaged:
                averaged.step(trained)
            value = accelerator.reduce(loss, "mean").item()
            if not math.isfinite(value):
                raise InputError(f"the loss of step {step} is {value}", "lower the learning rate")
            row = {"step": step + 1, "loss": value, "rate": rate, "norm": float(norm)}
            if pieces != settings.accumulation:
                row["pieces"] = pieces
            last = step + 1 == settings.steps
            if evaluate and (last or _due(step + 1, settings.evaluate_every)):
                with _averaged(problem, averaged, trained):
                    row |= evaluate()
                accelerator.print(f"{label} {step + 1}: " + _spoken(row), flush=True)
            if preview and accelerator.is_main_process and _due(step + 1, settings.preview_every):
                preview.folder.mkdir(parents=True, exist_ok=True)
                with _averaged(problem, averaged, trained):
                    write_png(preview.folder / f"{step + 1:06d}.png", preview.draw())
            counter.step, counter.history = step + 1, [*counter.history, row]
            if not last and _due(step + 1, settings.checkpoint_every):
                _save(accelerator, resume, step + 1, settings.keep_checkpoints)
            progress.advance(note=f"loss {value:.4f}")
    if averaged:
        averaged.copy_to(trained)
    accelerator.unwrap_model(problem).eval()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        remove(resume)
    accelerator.free_memory()
    AcceleratorState._reset_state()  # the next training may be of another precision
    return counter.history


def _backward(
    accelerator: Accelerator, problem: nn.Module, batch: Batch, pieces: int, rows: int
) -> Tensor | None:
    """Gradients of a process's batch, piece by piece; its loss.

    None where memory does not suffice and smaller pieces can be tried. With several processes,
    which must all do the same, the error is raised.
    """
    loss = torch.zeros((), device=accelerator.device)
    try:
        for piece in range(pieces):
            part = share(batch, piece, pieces)
            part = {k: v.to(accelerator.device, non_blocking=True) for k, v in part.items()}
            part_loss = problem(part) / pieces
            accelerator.backward(part_loss)
            loss = loss + part_loss.detach()
    except (MemoryError, RuntimeError) as error:
        if pieces == rows or accelerator.num_processes > 1 or not lacks_memory(error):
            raise
        return None
    return loss


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def make_optimizer(
    parameters: list[nn.Parameter], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """The optimizer of that name. Raises InputError where its package is missing."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adafactor":
        return torch.optim.Adafactor(parameters, rate, weight_decay=decay)
    if settings.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError:
            raise InputError(
                "adamw8bit needs the package bitsandbytes",
                "pip install bitsandbytes, or give --optimizer adafactor (--memory 12gb)",
            ) from None
        return AdamW8bit(parameters, rate, betas=_BETAS, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate, betas=_BETAS, weight_decay=decay)


def _checkpoint_gradients(problem: nn.Module) -> None:
    """Switch it on in every diffusers model that is trained."""
    for module in problem.modules():
        able = getattr(module, "_supports_gradient_checkpointing", False)
        if able and any(p.requires_grad for p in module.parameters()):
            module.enable_gradient_checkpointing()


def first_process() -> bool:
    """Whether this process is the one that writes; of a single process, true."""
    return PartialState().is_main_process


def _states(resume: Path) -> list[Path]:
    """The checkpoints, newest first."""
    return sorted(resume.glob("state-*"), reverse=True)


def _load(accelerator: Accelerator, resume: Path) -> bool:
    """Go on at the newest checkpoint that can be read; whether there is one."""
    for state in _states(resume):
        try:
            accelerator.load_state(str(state))
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError) as error:
            accelerator.print(f"{state} cannot be read ({type(error).__name__}): passed over")
        else:
            return True
    return False


def _save(accelerator: Accelerator, resume: Path, step: int, keep: int) -> None:
    """Write the checkpoint; every process takes part, the first one publishes it."""
    state, partial = resume / f"state-{step:07d}", resume / ".partial"
    if accelerator.is_main_process:
        remove(partial)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        remove(state)
        os.replace(partial, state)
        for old in _states(resume)[max(1, keep) :]:
            remove(old)


@contextmanager
def _averaged(
    problem: nn.Module, averaged: EMAModel | None, trained: list[nn.Parameter]
) -> Iterator[None]:
    """The problem on its averaged weights, ready to be looked at."""
    problem.eval()
    if averaged:
        averaged.store(trained)
        averaged.copy_to(trained)
    with torch.no_grad():
        yield
    if averaged:
        averaged.restore(trained)


def _spoken(row: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "step")


def resume_folder(out: Path) -> Path:
    """Where a stage that writes `out` keeps its checkpoint: outside the output itself."""
    root = os.environ.get("DREAMPOSE_RESUME_DIR")
    return Path(root) / out.name if root else out.parent / f".{out.name}.resume"


def write_curves(history: History, folder: Path) -> None:
    """Write `curves.tsv` and `curves.png` of a training run into `folder`."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in history for name in row))
    lines = ["\t".join(names)]
    lines += ["\t".join(f"{row[n]:.6g}" if n in row else "" for n in names) for row in history]
    write_text(folder / "curves.tsv", "\n".join(lines) + "\n")

    panels = [name for name in names if name not in ("step", "rate")]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.2), squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        points = [(row["step"], row[name]) for row in history if name in row]
        axis.plot(*zip(*points, strict=True), linewidth=0.8)
        axis.set(title=name, xlabel="step")
        if name in ("loss", "norm"):
            axis.set_yscale("log")
    figure.tight_layout()
    with publish(folder / "curves.png") as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
    pyplot.close(figure)
