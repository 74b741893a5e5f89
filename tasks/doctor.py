"""What this machine and workspace have, what they lack, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks import graph, workspace

_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "prefect",
    "dvc",
    "opencv-python-headless",
)
_FREE_GIB = 5
_DEVICE = (
    "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else "
    "f'CPU, {torch.get_num_threads()} threads')"
)


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and a remedy where something is missing."""

    subject: str
    found: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, in the current workspace."""
    yield Finding("workspace", str(Path.cwd()))
    yield Finding("Python", platform.python_version())
    for package in _PACKAGES:
        yield _package(package)
    yield _device()
    yield _ffmpeg()
    yield from _weights()
    yield _detectron2()
    yield _disk()


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", "pip install -r requirements.txt")


def _answer(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _device() -> Finding:
    found = _answer([sys.executable, "-c", _DEVICE])
    return Finding("device", found or "torch does not start", "" if found else "make setup")


def _ffmpeg() -> Finding:
    code = "import imageio_ffmpeg as f; print(f.get_ffmpeg_version())"
    found = _answer([sys.executable, "-c", code])
    return Finding("ffmpeg", found or "not found", "" if found else "make setup")


def _weights() -> Iterator[Finding]:
    """The files that `params.yaml` names."""
    parameters = graph.read_yaml(Path("params.yaml"))
    wanted = {"base": parameters["base"]["source"], "poses": parameters["densepose"]["weights"]}
    preset = next(
        (
            name
            for name in workspace.presets()
            if workspace.preset_path(name).read_bytes() == Path("params.yaml").read_bytes()
        ),
        "your own",
    )
    yield Finding("parameters", preset)
    for what, source in wanted.items():
        here = Path(source).exists()
        remedy = "" if here else "a hub id needs a network; else put the files there"
        yield Finding(f"{what} weights", f"{source}{'' if here else ' (not a file here)'}", remedy)


def _detectron2() -> Finding:
    found = _answer([sys.executable, "-c", "import detectron2; print(detectron2.__version__)"])
    return Finding("detectron2", found or "not installed (only the backend of that name needs it)")


def _disk() -> Finding:
    free = shutil.disk_usage(os.curdir).free / 2**30
    remedy = "" if free > _FREE_GIB else "make room: dreampose rm, dvc gc"
    return Finding("free disk", f"{free:.0f} GiB", remedy)
