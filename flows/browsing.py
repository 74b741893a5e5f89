"""The verbs that look: what exists, what is stale, where a file comes from."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from flows import order, report
from flows.place import InWorkspace
from flows.report import console
from tasks import freshness, graph, lineage


@dataclass(frozen=True)
class Lineage(InWorkspace):
    """Where a file comes from: any output, a file of an output folder, or a copy of either."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    json: bool = False
    """as JSON"""
    mermaid: bool = False
    """as a Mermaid flow chart, for documents"""

    def run(self) -> None:
        file = self.file.absolute()
        items = self.enter()
        tree = lineage.tree(file)
        if self.json:
            json.dump(lineage.as_data(tree), sys.stdout, indent=2)
            print()
        elif self.mermaid:
            print(lineage.mermaid(tree), end="")
        else:
            console.print(report.lineage_tree(tree, items, commands=True))


@dataclass(frozen=True)
class Reproduce(InWorkspace):
    """Make a file again in a work tree beside, and say whether the bytes are equal."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]

    def run(self) -> None:
        from tasks import reproduce

        file = self.file.absolute()
        self.enter()
        report.say_reproduced(reproduce.reproduce(file))


@dataclass(frozen=True)
class List(InWorkspace):
    """What exists: sources, subjects and renders."""

    def run(self) -> None:
        console.print(report.items_table(self.enter()))


@dataclass(frozen=True)
class Show(InWorkspace):
    """One item: its settings, what it is made of and used by, its stages and outputs."""

    item: Annotated[Positional[str], arg(metavar="ITEM")]
    """KEY or KIND/KEY, as `dreampose list` prints them"""

    def run(self) -> None:
        items = self.enter()
        group, key = items.find(self.item)
        addresses = graph.stages_of(group, key)
        stale = freshness.stale(items.model_dump(), addresses)
        console.print(report.item_table(items, group, key, graph.locked(addresses), stale))


@dataclass(frozen=True)
class Status(InWorkspace):
    """Which stages are not up to date, and why."""

    def run(self) -> None:
        items = self.enter()
        addresses = order.everything(items)
        stale = freshness.stale(items.model_dump(), addresses)
        console.print(report.status_table(stale, len(addresses)))
