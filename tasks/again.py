"""The command that makes a render again: the way back from the catalog's items to arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.arguments import Overrides
from tasks.catalog import DEFAULT_BASE, NOTHING, Catalog

NO_TRAINING: Overrides = {"steps": 0}
AS_FILMED: Overrides = {"mode": "none"}


def animate_command(items: Catalog, key: str) -> list[str]:
    """The words of the `dreampose animate` call that this render comes from, files by name."""
    render = items.renders[key]
    names = [items.sources[source].name for source in (render.source, render.driving)]
    words = ["dreampose", "animate", *map(_file, names), "-o", "out.mp4"]
    driving = items.sources[render.driving]
    words += [*_options(driving.frames), *_options(driving.reformat)]
    words += _options(render.sample)
    if render.base != DEFAULT_BASE:
        words += ["--base", render.base]
    if items.subjects[render.subject].finetune_unet == NO_TRAINING:
        words.append("--no-finetune")
    if items.motions[render.motion].retarget == AS_FILMED:
        words.append("--no-retarget")
    if render.audio != NOTHING:
        words.append("--audio")
    if render.truth != NOTHING:
        truth = items.sources[render.truth.removeprefix("data/frames/")]
        words += ["--truth", _file(truth.name)]
    return words


def _file(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _options(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield from (f"--{name.replace('_', '-')}", str(value))
