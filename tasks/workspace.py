"""The workspace: the folder with the code, `dvc.yaml`, `params.yaml` and all data.

A clone of the repository is one; `create` makes others beside it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from common.errors import InputError
from common.files import write_text
from tasks import catalog
from tasks.catalog import CATALOG, Catalog

HOME = Path(__file__).resolve().parent.parent
VARIABLE = "DREAMPOSE_WORKSPACE"
ROOMS = ("common", "mannequin", "densepose_prep", "dreampose_core", "tasks", "flows")
_FOLDERS = (*ROOMS, "presets", "weights", "pipelines/benchmark")
_FILES = ("dvc.yaml", ".dvcignore", ".dvc/config", "data/.gitignore")


def named(folder: Path) -> Path:
    """The workspace `folder`. Raises InputError where it is none."""
    if not _is_workspace(folder):
        raise InputError(f"{folder} is no workspace", f"make it one with: dreampose init {folder}")
    return folder.resolve()


def find(start: Path) -> Path:
    """The workspace named by $DREAMPOSE_WORKSPACE, else the one that `start` lies in, else the
    checkout this code belongs to.
    """
    if os.environ.get(VARIABLE):
        return named(Path(os.environ[VARIABLE]))
    for folder in (start, *start.parents, HOME):
        if _is_workspace(folder):
            return folder
    raise InputError(f"{start} lies in no workspace", "make one with: dreampose init DIR")


def _is_workspace(folder: Path) -> bool:
    return (folder / CATALOG).exists() and (folder / "dvc.yaml").exists()


def refuse_links_out() -> None:
    """Raises InputError where something that is written to in `data/` is a link out of here.

    Looked at are the folders of stages and items and what lies in them, not single frames.
    """
    root = Path.cwd().resolve()
    deep = ("data/items/*/*", "data/training/*/*", "data/raw/*/*")
    for pattern in ("data", "data/*", "data/*/*", *deep):
        for path in Path().glob(pattern):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise InputError(
                    f"{path} is a link out of the workspace", "put the thing itself there"
                )


def create(folder: Path, preset: str) -> None:
    """Make `folder` a workspace of its own with the parameters of `preset` and no items.

    Raises InputError where the folder holds something already.
    """
    parameters = preset_path(preset)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty", "give the name of a new folder")
    for name in _FOLDERS:
        shutil.copytree(HOME / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(HOME / name, folder / name)
    shutil.copyfile(parameters, folder / "params.yaml")
    write_text(folder / CATALOG, catalog.text(Catalog()))
    without_git(folder)


def without_git(folder: Path) -> None:
    """Tell DVC of a workspace that is in no git checkout; others are left alone."""
    local = folder / ".dvc" / "config.local"
    if not local.exists() and not any((f / ".git").exists() for f in (folder, *folder.parents)):
        write_text(local, "[core]\n    no_scm = true\n")


def presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in (HOME / "presets").glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The file of a preset. Raises InputError at an unknown name."""
    if name not in presets():
        raise InputError(f"there is no preset '{name}'", f"one of: {', '.join(presets())}")
    return HOME / "presets" / f"{name}.yaml"
