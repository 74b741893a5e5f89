"""`inbox/`: what people put there, whether it is whole, and the settings that came with it.

`inbox/subjects/` holds a photo, a video or a folder of photos a subject, `inbox/clips/` a video a
motion. Overrides lie in `item.yaml` inside a folder or in `NAME.yaml` beside `NAME.jpg`. What
cannot be used is moved to `inbox/rejected/` with the reason. Nothing here knows what is made of
the items.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from common.errors import InputError
from common.files import write_text
from tasks.arguments import checked
from tasks.reading import read_yaml

INBOX = Path("inbox")
REJECTED = INBOX / "rejected"
SUBJECTS, CLIPS = "subjects", "clips"
_IN_FOLDER = "item.yaml"
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".filepart", "~")
_REMEDY = "see the section inbox in presets/mini.yaml"

Kind = Literal["subjects", "clips"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Strict):
    """Subjects and clips to bring together, by name; `*`, `?` and `[…]` as in a shell."""

    subject: str = "*"
    clip: str = "*"

    def matches(self, subject: str, clip: str) -> bool:
        """Whether the rule speaks of these names."""
        return fnmatchcase(subject, self.subject) and fnmatchcase(clip, self.clip)


class Settings(_Strict):
    """The section `inbox` of `params.yaml`; `settle` and `backoff` are seconds."""

    settle: Annotated[float, Field(ge=0)]
    attempts: Annotated[int, Field(ge=1)]
    backoff: Annotated[float, Field(ge=0)]
    renders: tuple[Rule, ...]
    cron: str
    pool: str


class _Overrides(_Strict):
    """Values that win over `params.yaml`, by stage. Raises InputError at what a stage lacks."""

    frames: dict[str, Any] = {}
    densepose: dict[str, Any] = {}
    reformat: dict[str, Any] = {}
    sample: dict[str, Any] = {}

    @field_validator("*")
    @classmethod
    def _known(cls, values: Any, info: Any) -> Any:
        stage = info.field_name.replace("_", "-")
        return checked(stage, values) if isinstance(values, dict) else values

    @property
    def of_source(self) -> dict[str, dict[str, Any]]:
        """What belongs to cutting the frames and finding the poses."""
        return {"frames": self.frames, "densepose": self.densepose, "reformat": self.reformat}


class SubjectOverrides(_Overrides):
    finetune_unet: dict[str, Any] = {}
    finetune_vae: dict[str, Any] = {}


class ClipOverrides(_Overrides):
    retarget: dict[str, Any] = {}
    audio: bool = False


@dataclass(frozen=True)
class Entry:
    """A subject or a clip in the inbox; `stamp` changes whenever its files do."""

    kind: Kind
    path: Path
    settings: Path
    stamp: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.path.name}"

    @property
    def name(self) -> str:
        """What rules call it."""
        return self.path.name if self.path.is_dir() else self.path.stem


@dataclass(frozen=True)
class Passed:
    """Something in the inbox that is left alone for now, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.name


def settings() -> Settings:
    """The section `inbox` of `params.yaml`. Raises InputError where it cannot be used."""
    section = read_yaml(Path("params.yaml")).get("inbox")
    if section is None:
        raise InputError("params.yaml has no section 'inbox'", _REMEDY)
    return _parsed(Settings, section, "params.yaml → inbox", _REMEDY)


def overrides(entry: Entry) -> SubjectOverrides | ClipOverrides:
    """The settings that came with an item. Raises InputError where they cannot be used."""
    kind = SubjectOverrides if entry.kind == SUBJECTS else ClipOverrides
    if not entry.settings.exists():
        return kind()
    values = read_yaml(entry.settings) or {}
    fields = ", ".join(kind.model_fields)
    return _parsed(kind, values, str(entry.settings), f"it may hold: {fields}")


def _parsed(kind: type[Any], values: Any, where: str, remedy: str) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = " → ".join([where, *map(str, first["loc"])])
        raise InputError(f"{place}: {first['msg']}", remedy) from None


def scan(settle: float) -> tuple[list[Entry], list[Passed]]:
    """What lies in the inbox, whole and untouched for `settle` seconds; and what does not."""
    found: list[Entry] = []
    passed: list[Passed] = []
    for kind in (SUBJECTS, CLIPS):
        folder = INBOX / kind
        folder.mkdir(parents=True, exist_ok=True)
        paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        items = [path for path in paths if path.is_dir() or path.suffix != ".yaml"]
        owners = [path.stem for path in items if not path.is_dir()]
        for path in paths:
            if path not in items and path.stem not in owners:
                passed.append(Passed(f"{kind}/{path.name}", "settings without an item"))
        for path in items:
            looked = _look(kind, path, settle)
            (found if isinstance(looked, Entry) else passed).append(looked)
    return found, passed


def untouched(entry: Entry) -> bool:
    """Whether an item is still as it was when it was found."""
    return _look(entry.kind, entry.path, settle=0) == entry


def _look(kind: Kind, path: Path, settle: float) -> Entry | Passed:
    inside = path.is_dir() and not path.is_symlink()
    beside = path / _IN_FOLDER if inside else path.with_suffix(".yaml")
    try:
        files = [path, *([beside] if beside.exists() else []), *_members(path)]
        if reason := _unfit(files, settle):
            return Passed(f"{kind}/{path.name}", reason)
        return Entry(kind, path, beside, _stamp(files))
    except OSError as error:
        return Passed(f"{kind}/{path.name}", str(error.strerror))


def _members(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        yield from sorted(member for member in path.iterdir() if member.name != _IN_FOLDER)


def _unfit(files: list[Path], settle: float) -> str | None:
    """Why an item made of these paths is left alone, if it is.

    A change that seems to come from the future is an old one: the clock was set back.
    """
    for path in files:
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):
            return f"{path.name} is a link: put the file itself here"
        if not (stat.S_ISREG(state.st_mode) or (path == files[0] and path.is_dir())):
            return f"{path.name} is no file"
        if path.name.lower().endswith(_UNFINISHED):
            return f"{path.name} is an unfinished copy"
        if 0 <= time.time() - state.st_ctime < settle:
            return "still being written"
        if not os.access(path, os.R_OK):
            return f"{path.name} may not be read"
    return None


def _stamp(files: list[Path]) -> str:
    states = [(path.name, (s := path.lstat()).st_size, s.st_mtime_ns, s.st_ino) for path in files]
    return hashlib.md5(repr(states).encode(), usedforsecurity=False).hexdigest()


def reject(name: str, paths: list[Path], reason: str) -> Path:
    """Move what belongs to an item to a folder of its own in `inbox/rejected/`, beside a reason.

    Returns that folder.
    """
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    folder = REJECTED / f"{moment}-{name.replace('/', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "reason.txt", reason + "\n")
    for path in paths:
        if path.exists():
            os.replace(path, folder / path.name)
    return folder
