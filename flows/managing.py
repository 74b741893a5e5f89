"""The verbs that change the workspace itself: presets, items, new workspaces; and the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from common.errors import InputError
from common.files import file_hash, remove
from flows import report
from flows.place import InWorkspace, copy
from flows.report import console
from tasks import catalog, graph, workspace


@dataclass(frozen=True)
class Use(InWorkspace):
    """Make a preset the parameters of this workspace."""

    preset: Annotated[Positional[str], arg(metavar="PRESET")]
    """mini, tiny or sd14"""

    def run(self) -> None:
        self.enter()
        new, current = workspace.preset_path(self.preset), Path("params.yaml")
        if current.read_bytes() not in [
            workspace.preset_path(name).read_bytes() for name in workspace.presets()
        ]:
            kept = Path(f"data/params-{file_hash(current)[:8]}.yaml")
            copy(current, kept)
            console.print(f"Your own params.yaml is kept as {kept}.")
        copy(new, current)
        console.print(f"params.yaml is now the preset {self.preset}.")


@dataclass(frozen=True)
class Init:
    """Make a new workspace: a folder of its own with code, parameters and no items."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    preset: Annotated[str, arg(metavar="PRESET")] = "mini"

    def run(self) -> None:
        workspace.create(self.folder, self.preset)
        said = f"{self.folder} is a workspace. Next: cd {self.folder}, dreampose animate …"
        console.print(said, markup=False)


@dataclass(frozen=True)
class Remove(InWorkspace):
    """Remove an item and its outputs; their bytes stay in DVC's cache."""

    item: Annotated[Positional[str], arg(metavar="ITEM")]
    """KEY or KIND/KEY, as `dreampose list` prints them"""
    users: bool = False
    """also remove what is made of it"""

    def run(self) -> None:
        from tasks import page

        self.enter()
        with catalog.edit() as items:
            group, key = items.find(self.item)
            users = items.users(group, key)
            if users and not self.users:
                names = ", ".join(f"{g.removesuffix('s')}/{k}" for g, k in users)
                raise InputError(f"{names} is made of it", "add --users to remove that as well")
            gone = items.remove(group, key)
        for g, k in gone:
            graph.discard(g, k)
            if g == "renders":
                remove(page.path_of(k))
            console.print(f"removed {g.removesuffix('s')}/{k}")


@dataclass(frozen=True)
class Gc(InWorkspace):
    """Show what no item, commit or tag needs; with --yes remove it."""

    yes: bool = False
    """remove it"""

    def run(self) -> None:
        from tasks import garbage

        self.enter()
        found = garbage.clear() if self.yes else garbage.find()
        console.print(report.garbage_table(found, removed=self.yes))


@dataclass(frozen=True)
class Doctor(InWorkspace):
    """What is installed, which device, backends and weights there are, and what to do about it."""

    def run(self) -> None:
        from tasks import doctor

        self.enter()
        console.print(report.doctor_table(doctor.examine()))
