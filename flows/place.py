"""What every verb of the `dreampose` command shares: the workspace it works in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

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
        workspace.
        """
        root = workspace.named(self.workspace) if self.workspace else workspace.find(Path.cwd())
        os.chdir(root)
        workspace.without_git(root)
        items = catalog.load()
        graph.lay_out(items.model_dump())
        return items
