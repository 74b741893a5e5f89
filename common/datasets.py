"""The dataset file: many prepared clips, split in train and test, and those that failed.

One JSON file names the frames and poses folders of every clip with the hashes that DVC recorded,
so that its own bytes say everything a training sees. Paths are relative to the workspace.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from common.errors import InputError
from common.files import write_json

Part = Literal["train", "test"]
_KEY = re.compile(r"[a-z0-9-]{1,200}")


@dataclass(frozen=True)
class Clip:
    """A prepared clip: the file's `name`, its `source` in the catalog, `count` frames."""

    name: str
    source: str
    count: int
    frames: str
    frames_md5: str
    poses: str
    poses_md5: str


@dataclass(frozen=True)
class Failure:
    """A clip that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """What the file says."""

    name: str
    train: list[Clip] = field(default_factory=list)
    test: list[Clip] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write the file atomically; the same clips give the same bytes."""
    write_json(path, asdict(dataset))


def read_dataset(path: Path) -> Dataset:
    """Read the file. Raises InputError where it is none or has no clip to train on."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        train, test = ([Clip(**clip) for clip in values[part]] for part in ("train", "test"))
        failed = [Failure(**failure) for failure in values["failed"]]
        dataset = Dataset(values["name"], train, test, failed)
        odd = [clip.source for clip in train + test if not _KEY.fullmatch(clip.source)]
        if odd:
            raise ValueError(f"the source {odd[0]!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is not a dataset file ({error})", "make one with: dreampose dataset FOLDER"
        ) from None
    if not train:
        raise InputError(f"{path} has no clip to train on", "see its list of failures")
    return dataset
