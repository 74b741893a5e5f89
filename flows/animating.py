"""The verb `animate`: a photo and a clip in, a video out, and where it came from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rich.markup import escape
from tyro.conf import Positional, arg

from common.errors import InputError
from common.program import printable
from common.settings import Sampling
from flows import order, report
from flows.place import InWorkspace, copy, writable
from flows.report import console
from flows.reporting import page_of
from flows.working import bring_up_to_date
from tasks import catalog, commits, inputs, lineage, parameters
from tasks.again import AS_FILMED, NO_TRAINING
from tasks.bridge import StageRun
from tasks.catalog import DEFAULT_BASE, Catalog

_AS_SET = "(default: as in params.yaml)"
Count = Annotated[int | None, arg(metavar="N", help_behavior_hint=_AS_SET)]
Number = Annotated[float | None, arg(metavar="X", help_behavior_hint=_AS_SET)]


@dataclass(frozen=True)
class Animate(InWorkspace):
    """Put the person of SUBJECT into the motion of CLIP."""

    subject: Annotated[Positional[Path], arg(metavar="SUBJECT")]
    """photo, folder of photos or video of a person"""
    clip: Annotated[Positional[Path], arg(metavar="CLIP")]
    """video of the motion"""
    out: Annotated[Path, arg(aliases=["-o"])]
    """the .mp4 to write"""
    steps: Count = None
    """sampling steps"""
    s1: Number = None
    """guidance by the subject's picture"""
    s2: Number = None
    """guidance by the pose"""
    seed: Count = None
    """seed of the sampling noise"""
    finetune: bool = True
    """fit the model to the subject first"""
    base: Annotated[str, arg(metavar="KEY")] = DEFAULT_BASE
    """the base to start from, e.g. one that train-base made"""
    retarget: bool = True
    """bring CLIP's person to the subject's height and place"""
    start: Number = None
    """seconds of CLIP to skip"""
    end: Number = None
    """second of CLIP to stop at"""
    fps: Number = None
    """frames per second to take from CLIP"""
    max_frames: Count = None
    """take at most so many frames of CLIP"""
    person: Annotated[
        Literal["largest", "center"] | int | None, arg(metavar="WHO", help_behavior_hint=_AS_SET)
    ] = None
    """largest, center or a number (by score, from 0): who leads where CLIP shows several"""
    audio: bool = False
    """keep the sound of CLIP"""
    commit: bool = False
    """commit the catalog and the locks to git afterwards"""
    truth: Annotated[Path | None, arg(metavar="CLIP", help_behavior_hint="")] = None
    """clip of the true answer, to measure against"""
    sheet: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """also write the contact sheet to this .png"""
    report: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """also write the report to this .html"""

    def run(self) -> None:
        begin = time.monotonic()
        files = {name: path.absolute() for name, path in self._files().items()}
        out = writable(self.out, ".mp4")
        sheet = writable(self.sheet, ".png") if self.sheet else None
        page = writable(self.report, ".html") if self.report else None
        Sampling(**self._sampling())
        self.enter()
        limits = parameters.limits(parameters.load())
        for name, path in files.items():
            if name != "subject" and path.is_dir():
                raise InputError(f"{path} is a folder", "give one clip")
            inputs.probe(path, limits, **({} if name == "subject" else self._cut()))
        items, render = self._register(files)
        addresses = order.animate(items, render)
        runs = bring_up_to_date(addresses, "animate", render)
        if self.commit:
            commits.commit(f"animate {render}")
        copy(Path(f"data/videos/{render}.mp4"), out)
        if sheet:
            copy(Path(f"data/reports/{render}/contact.png"), sheet)
        if page:
            copy(page_of(items, render), page)
        made = [path for path in (out, sheet, page) if path]
        self._say(runs, items, made, time.monotonic() - begin)

    def _files(self) -> dict[str, Path]:
        return {"subject": self.subject, "clip": self.clip} | (
            {"truth": self.truth} if self.truth else {}
        )

    def _register(self, files: dict[str, Path]) -> tuple[Catalog, str]:
        raws = dict(zip(files, inputs.take_in_all(list(files.values())), strict=True))
        cut = self._cut()
        training = None if self.finetune else NO_TRAINING
        with catalog.edit() as items:
            photo = items.add_source(*raws["subject"], files["subject"].name)
            driving = items.add_source(
                *raws["clip"], files["clip"].name, cut, reformat=self._given("person")
            )
            truth = (
                items.add_source(*raws["truth"], files["truth"].name, cut) if self.truth else None
            )
            subject = items.add_subject(photo, self.base, training, training)
            motion = None if self.retarget else AS_FILMED
            render = items.add_render(
                subject, driving, self._sampling(), truth, audio=self.audio, retarget=motion
            )
        return items, render

    def _cut(self) -> dict[str, int | float]:
        return self._given("start", "end", "fps", "max_frames")

    def _sampling(self) -> dict[str, int | float]:
        return self._given("steps", "s1", "s2", "seed")

    def _given(self, *names: str) -> dict[str, int | float]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _say(self, runs: list[StageRun], items: Catalog, made: list[Path], seconds: float) -> None:
        console.print(report.run_table(runs))
        if all(run.outcome == "unchanged" for run in runs):
            console.print("Nothing had to be done: everything was up to date.")
        console.print(report.lineage_tree(lineage.tree(made[0]), items, commands=False))
        console.print(" and ".join(f"[bold]{escape(printable(str(file)))}[/]" for file in made))
        console.print(f"{seconds:.1f} s in all")
