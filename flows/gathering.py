"""The verb `dataset`: a folder of clips becomes a dataset that a base can be trained on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from common import frames as frames_format
from common.datasets import Clip, Dataset, Failure, write_dataset
from common.errors import InputError
from common.progress import Progress
from flows import order, report, working
from flows.animating import Count, Number
from flows.place import InWorkspace
from flows.report import console
from tasks import bridge, catalog, clips, device, freshness, graph, inputs, lineage, parameters
from tasks.bridge import StageRun
from tasks.clips import DATASETS, Listed
from tasks.graph import Address

_TAKEN_AT_ONCE = 16
Raw = tuple[str, str]


@dataclass(frozen=True)
class Gather(InWorkspace):
    """Take in all clips of FOLDER and find their poses; given again, it goes on.

    Lists named …train.txt and …test.txt (as UBC Fashion has), or else sub-folders train and
    test, say which clips are held out. What fails is skipped and listed.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """folder of clips"""
    name: Annotated[str | None, arg(help_behavior_hint="(default: the folder's)")] = None
    """what to call the dataset"""
    workers: Annotated[int, arg(metavar="N")] = 2
    """clips at a time"""
    fps: Number = None
    """frames per second to take"""
    max_frames: Count = None
    """take at most so many frames of each clip"""

    def run(self) -> None:
        begin = time.monotonic()
        if self.workers < 1:
            raise InputError(f"--workers {self.workers} is too few", "give 1 or more")
        folder = self.folder.absolute()
        name = catalog.slug(self.name or folder.name)
        listed, failed = clips.find(folder)
        self.enter()
        parameters.load()
        taken, unusable = _taken_in(listed, self._cut())
        sources, twice = self._registered(taken)
        problems = _prepared(name, list(sources), self.workers)
        dataset = Dataset(name, failed=[*failed, *unusable, *twice])
        for source, clip in sources.items():
            _add(dataset, clip, source, problems.get(source))
        path = DATASETS / f"{name}.json"
        write_dataset(path, dataset)
        _forget(problems)
        console.print(report.dataset_table(dataset))
        console.print(f"[bold]{path}[/], {time.monotonic() - begin:.1f} s")
        if not dataset.train:
            raise InputError("there is no clip to train on", "see the reasons above")
        console.print(f"Next: dreampose train-base {name}")

    def _cut(self) -> dict[str, int | float]:
        given = {"fps": self.fps, "max_frames": self.max_frames}
        return {name: value for name, value in given.items() if value is not None}

    def _registered(self, taken: Mapping[Listed, Raw]) -> tuple[dict[str, Listed], list[Failure]]:
        """The clips by source, and those whose bytes were there already."""
        sources: dict[str, Listed] = {}
        twice = []
        with catalog.edit() as items:
            for clip, raw in taken.items():
                key = items.add_source(*raw, clip.path.name, self._cut())
                first = sources.setdefault(key, clip)
                if first is not clip:
                    twice.append(Failure(clip.name, f"it is the same clip as {first.name}"))
        return sources, twice


def _taken_in(
    listed: Sequence[Listed], cut: Mapping[str, float]
) -> tuple[dict[Listed, Raw], list[Failure]]:
    """Where the copies of the clips are, and the clips that cannot be read."""
    taken: dict[Listed, Raw] = {}
    failed = []
    limits = parameters.limits()
    with Progress("clips taken in", len(listed)) as progress:
        for start in range(0, len(listed), _TAKEN_AT_ONCE):
            part = listed[start : start + _TAKEN_AT_ONCE]
            usable = []
            for clip in part:
                try:
                    inputs.probe(clip.path, limits, **cut)
                    usable.append(clip)
                except InputError as error:
                    failed.append(Failure(clip.name, error.problem))
            taken |= zip(usable, inputs.take_in_all([c.path for c in usable]), strict=True)
            progress.advance(len(part))
    return taken, failed


def _prepared(name: str, sources: Sequence[str], workers: int) -> dict[str, str]:
    """Prepare the sources that are not; returns what went wrong with those that failed."""
    addresses = [address for source in sources for address in order.prepare(source)]
    stale = freshness.stale(catalog.load().model_dump(), addresses)
    lineage.record(StageRun(a, "unchanged", 0.0) for a in addresses if a not in stale)
    waiting = list(dict.fromkeys(address.item for address in stale))
    if not waiting:
        return {}
    bridge.stale(stale)  # which also mends what a killed DVC left
    working.begin()
    with device.attended():
        from flows.ingest import ingest

        return ingest(name, waiting, workers)


def _add(dataset: Dataset, clip: Listed, source: str, problem: str | None) -> None:
    """Put a clip where it belongs: among its part, or among the failures."""
    frames, poses = f"data/frames/{source}", f"data/poses/{source}"
    count = 0 if problem else frames_format.read_info(Path(frames)).count
    if count < 2:
        problem = problem or "it has one frame; a pair needs two"
        dataset.failed.append(Failure(clip.name, problem))
        return
    made = recorded(source)
    kept = Clip(clip.name, source, count, frames, made[frames], poses, made[poses])
    getattr(dataset, clip.part).append(kept)


def recorded(source: str) -> dict[str, str]:
    """The hashes of a source's frames, poses and previews by their paths, as DVC recorded them."""
    entries = graph.locked([Address("frames", source), Address("reformat", source)])
    return {out["path"]: out["md5"] for entry in entries.values() for out in entry["outs"]}


def _forget(sources: Mapping[str, str]) -> None:
    """Take failed sources that nothing else is made of out of the catalog again."""
    with catalog.edit() as items:
        unused = [source for source in sources if not items.users("sources", source)]
        for source in unused:
            items.remove("sources", source)
    for source in unused:
        graph.discard("sources", source)
