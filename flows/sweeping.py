"""The verb `sweep`: which guidance strengths suit a render, as one picture."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from common.errors import InputError
from flows.place import InWorkspace
from tasks import device, freshness, graph
from tasks.graph import Address

_REPLACED = ("--out", "--batch_size")
Strengths = Annotated[tuple[float, ...], arg(metavar="X …")]


@dataclass(frozen=True)
class Sweep(InWorkspace):
    """One frame of a render under every pair of guidance strengths, as a grid of pictures."""

    render: Annotated[Positional[str], arg(metavar="RENDER")]
    """as `dreampose list` prints it"""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
    """the .png to write"""
    s1: Strengths = (1, 3, 6, 9)
    """strengths of the subject's picture, a row each"""
    s2: Strengths = (1, 3, 6, 9)
    """strengths of the pose, a column each"""
    frame: int = 0
    """of the motion"""

    def run(self) -> None:
        out = self.out.absolute()
        if out.suffix.lower() != ".png":
            raise InputError(f"{out} cannot be the output", "give a file name that ends in .png")
        items = self.enter()
        named = self.render if "/" in self.render else f"render/{self.render}"
        group, key = items.find(named)
        if group != "renders":
            raise InputError(f"{self.render!r} is no render", "see: dreampose list")
        address = Address("sample", key)
        recorded = graph.locked([address])
        if not recorded or freshness.stale(items.model_dump(), [address]):
            raise InputError(f"{key} is not up to date", "render it first: dreampose animate …")
        program = _without(shlex.split(recorded[address]["cmd"])[4:])
        given = {"--image-strengths": self.s1, "--pose-strengths": self.s2, "--frame": [self.frame]}
        more = [str(word) for name, values in given.items() for word in (name, *values)]
        command = [sys.executable, "-m", "dreampose_core", "sweep", *program, "--out", out, *more]
        with device.attended(), device.turn(address, _tell):
            done = subprocess.run(command)
        sys.exit(done.returncode)


def _tell(reason: str) -> None:
    print(f"waiting: {reason}", flush=True)


def _without(arguments: list[str]) -> list[str]:
    """The recorded arguments but those that are given anew."""
    before = ["", *arguments]
    return [
        word
        for word, last in zip(arguments, before, strict=False)
        if word not in _REPLACED and last not in _REPLACED
    ]
