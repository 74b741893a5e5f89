"""The verb `train-base`: a base finetuned to a dataset, which then is a base like any other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from common.datasets import Clip, read_dataset
from common.errors import InputError
from flows import order, report
from flows.animating import Count, Number
from flows.gathering import recorded
from flows.place import InWorkspace
from flows.report import console
from flows.working import bring_up_to_date
from tasks import catalog
from tasks.catalog import DEFAULT_BASE
from tasks.clips import DATASETS


@dataclass(frozen=True)
class TrainBase(InWorkspace):
    """Finetune a base to a dataset; given again after a kill, it goes on."""

    dataset: Annotated[Positional[str], arg(metavar="DATASET")]
    """name of a dataset that `dreampose dataset` made"""
    base: Annotated[str, arg(metavar="KEY")] = DEFAULT_BASE
    """the base to start from"""
    epochs: Number = None
    """times as many samples as there are frames to train on"""
    steps: Count = None
    """steps instead of epochs"""
    batch_size: Count = None
    """samples a step"""
    learning_rate: Number = None
    seed: Count = None

    def run(self) -> None:
        begin = time.monotonic()
        self.enter()
        _check(self.dataset)
        with catalog.edit() as items:
            key = items.add_training(self.dataset, self.base, self._settings())
        runs = bring_up_to_date(order.train(items, key), "train", key)
        console.print(report.run_table(runs))
        console.print(f"The base [bold]{key}[/] is ready, {time.monotonic() - begin:.1f} s.")
        console.print(f"Next: dreampose animate SUBJECT CLIP -o OUT.mp4 --base {key}")

    def _settings(self) -> dict[str, int | float]:
        names = ("epochs", "steps", "batch_size", "learning_rate", "seed")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return given | {"steps": 0} if "epochs" in given and "steps" not in given else given


def _check(name: str) -> None:
    """Raises InputError where there is no such dataset or its clips are no longer what it says."""
    if catalog.slug(name) != name or not (DATASETS / f"{name}.json").exists():
        there = ", ".join(sorted(path.stem for path in DATASETS.glob("*.json"))) or "none yet"
        raise InputError(f"there is no dataset {name!r}", f"there are: {there}")
    dataset = read_dataset(DATASETS / f"{name}.json")
    changed = [clip.name for clip in dataset.train + dataset.test if not _is_as_listed(clip)]
    if changed:
        raise InputError(
            f"{changed[0]} is no longer as the dataset lists it", "run dreampose dataset again"
        )


def _is_as_listed(clip: Clip) -> bool:
    folders = {clip.frames: clip.frames_md5, clip.poses: clip.poses_md5}
    made = recorded(clip.source)
    return all(made.get(path) == md5 and Path(path).is_dir() for path, md5 in folders.items())
