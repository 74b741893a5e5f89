"""What the verbs of the `dreampose` command share: the workspace they work in, copies out of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from common.errors import InputError
from common.files import publish
from tasks import catalog, graph, workspace
from tasks.catalog import Catalog


@dataclass(frozen=True, kw_only=True)
class InWorkspace:
    """A verb that works in a workspace."""

    workspace: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """work in this workspace (default: $DREAMPOSE_WORKSPACE, else the one around this folder)"""

    def enter(self) -> Catalog:
        """Make the workspace the current folder; returns its catalog.

        Paths given by the user must be made absolute before. Raises InputError where there is no
        workspace, and where links lead out of its data.
        """
        root = workspace.named(self.workspace) if self.workspace else workspace.find(Path.cwd())
        os.chdir(root)
        workspace.refuse_links_out()
        workspace.without_git(root)
        items = catalog.load()
        graph.lay_out(items.model_dump())
        return items


def copy(made: Path, out: Path) -> None:
    """Copy a file so that `out` is whole or as it was."""
    with publish(out) as partial:
        shutil.copyfile(made, partial)


def writable(path: Path, suffix: str) -> Path:
    """The absolute path. Raises InputError unless a file with that suffix can be written there."""
    path = path.absolute()
    if path.suffix.lower() != suffix or path.is_dir():
        raise InputError(f"{path} cannot be the output", f"give a file name that ends in {suffix}")
    nearest = next(folder for folder in path.parents if folder.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=nearest, suffix=path.name[-200:]):
            return path
    except OSError as error:
        raise InputError(
            f"nothing can be written to {nearest} ({error.strerror})", "give another place"
        ) from None
