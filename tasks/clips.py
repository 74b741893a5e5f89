"""A folder of clips as people keep them: which clips there are, and which are for the test.

The split is as UBC Fashion publishes it, in this order: lists of file names or addresses
(`…train.txt`, `…test.txt`, also .csv), else sub-folders `train` and `test`, else all are for
training. In a list a line's name is its first field that is a clip; what comes before the last
slash of an address does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

from common.datasets import Failure, Part
from common.errors import InputError

DATASETS = Path("data/datasets")
"""Where the dataset files lie."""
VIDEO = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"})
_LIST = re.compile(r"(?:.*[-_ .])?(train|test)(?:[-_ ].*)?\.(?:txt|csv)", re.IGNORECASE)


@dataclass(frozen=True)
class Listed:
    """A clip of the folder: its path, its name in the folder, its part."""

    path: Path
    name: str
    part: Part


def find(folder: Path) -> tuple[list[Listed], list[Failure]]:
    """The clips of a folder in the order of its lists, else by name; and listed ones not there.

    Raises InputError where there is none, or where one is in both parts.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "give a folder of clips")
    clips = sorted(p for p in folder.rglob("*") if _is_clip(p.relative_to(folder)) and p.is_file())
    lists = {path: match[1].lower() for path in sorted(folder.iterdir()) if (match := _list(path))}
    found, missing = _by_lists(lists, clips) if lists else (_by_folders(folder, clips), [])
    if not found:
        raise InputError(
            f"there is no clip in {folder}" + " that its lists name" * bool(lists),
            f"put clips there ({', '.join(sorted(VIDEO))})",
        )
    train = {path for path, part in found if part == "train"}
    both = [path for path, part in found if part == "test" and path in train]
    if both:
        raise InputError(f"{both[0].name} is for training and test", "name it in one list only")
    listed = [
        Listed(path, path.relative_to(folder).as_posix(), part)
        for path, part in dict.fromkeys(found)
    ]
    return listed, missing


def _is_clip(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in VIDEO and not hidden


def _list(path: Path) -> re.Match[str] | None:
    return _LIST.fullmatch(path.name) if path.is_file() else None


def _by_folders(folder: Path, clips: list[Path]) -> list[tuple[Path, Part]]:
    tops = {path: path.relative_to(folder).parts[0].lower() for path in clips}
    if not set(get_args(Part)) & set(tops.values()):
        return [(path, "train") for path in clips]
    return [(path, part) for part in get_args(Part) for path in clips if tops[path] == part]


def _by_lists(
    lists: dict[Path, Part], clips: list[Path]
) -> tuple[list[tuple[Path, Part]], list[Failure]]:
    known = {name: path for path in reversed(clips) for name in (path.stem, path.name)}
    found, missing = [], []
    for file, part in sorted(lists.items(), key=lambda item: item[1] == "test"):
        for name in _names(file, known):
            if name in known:
                found.append((known[name], part))
            else:
                missing.append(Failure(name, f"{file.name} names it, but it is not in the folder"))
    return found, missing


def _names(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """The clip of each line; a first line without any is a heading."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{file} is no text", "give a list of one clip a line") from None
    for number, line in enumerate(lines):
        fields = [_last_part(field) for field in re.split(r"[,;\t]", line)]
        names = [f for f in fields if f in known] or [f for f in fields if _is_clip(Path(f))]
        if names:
            yield names[0]
        elif number and fields[0] and not fields[0].startswith("#"):
            yield fields[0]


def _last_part(field: str) -> str:
    """The file name at the end of a name, a path or an address."""
    plain = field.strip().strip("\"'")
    path = unquote(re.split(r"[?#]", plain)[0]) if "://" in plain else plain
    return path.replace("\\", "/").split("/")[-1]
