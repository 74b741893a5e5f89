"""What the `dreampose` command shows: stages while they run, their times, trees of origin."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.tree import Tree

from common.datasets import Dataset
from common.errors import InputError
from tasks import events
from tasks.arguments import Overrides
from tasks.bridge import StageRun
from tasks.catalog import NOTHING, Catalog
from tasks.doctor import Finding
from tasks.garbage import Waste
from tasks.graph import Address
from tasks.lineage import Node, Record
from tasks.reproduce import Reproduced

_PLAIN_SECONDS = 15.0
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


class Board:
    """A live table of the stages of one call on a terminal, one line a stage elsewhere."""

    def __init__(self, addresses: Sequence[Address]):
        self.runs: dict[Address, StageRun | None] = dict.fromkeys(addresses)
        self.running: Address | None = None
        self.begin = self.said = 0.0
        self.progress: dict[str, Any] = {}
        self.state = ""

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Started(address):
                self.running, self.begin, self.progress = address, time.monotonic(), {}
                self.state = "starting"
                self.said = self.begin
            case events.Advanced(address, progress):
                self.progress = progress
                if not console.is_terminal and time.monotonic() - self.said > _PLAIN_SECONDS:
                    self.said = time.monotonic()
                    console.print(f"{address}: {_counted(progress)}", markup=False)
            case events.Waiting(address, reason):
                self.state = f"waiting: {reason}"
                if not console.is_terminal:
                    console.print(f"{address}: {self.state}", markup=False)
            case events.Finished(run):
                self.running, self.runs[run.address] = None, run
                if not console.is_terminal:
                    console.print(f"{run.address}: {run.outcome}, {run.seconds:.1f} s")

    def __rich__(self) -> Group:
        table = run_table([run for run in self.runs.values() if run])
        if self.running:
            table.add_row(self.running.stage, self.running.item, self._bar(), self._seconds())
        left = sum(run is None for run in self.runs.values()) - (self.running is not None)
        return Group(table, f"{left} more to come" if left > 0 else "")

    def _bar(self) -> Table | str:
        if not self.progress:
            return escape(self.state)
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(self.progress["total"], self.progress["done"], width=20)
        grid.add_row(bar, escape(_counted(self.progress)))
        return grid

    def _seconds(self) -> str:
        return f"{time.monotonic() - self.begin:.0f}"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Listen to the steps and draw, for as long as the block runs."""
        events.listeners.append(self)
        try:
            if console.is_terminal:
                with Live(self, console=console, transient=True, refresh_per_second=4):
                    yield
            else:
                yield
        finally:
            events.listeners.remove(self)


def _counted(progress: dict[str, Any]) -> str:
    """What a program says of itself in one line, with an estimate."""
    done, total = progress["done"], progress["total"]
    here = max(1, done - progress["first"])
    left = (total - done) * progress["seconds"] / here
    return f"{progress['label']} {done}/{total}, {left:.0f} s left {progress['note']}".rstrip()


def run_table(runs: Sequence[StageRun]) -> Table:
    """Stage, item, what became of it, seconds."""
    table = Table("stage", "item", "", "seconds", box=None, pad_edge=False)
    table.columns[1].overflow = "fold"
    table.columns[3].justify = "right"
    for run in runs:
        style = "dim" if run.outcome == "unchanged" else ""
        table.add_row(*run.address, run.outcome, f"{run.seconds:.1f}", style=style)
    return table


def lineage_tree(node: Node, items: Catalog, *, commands: bool) -> Tree:
    """A tree of origin; with `commands` also each stage's command, code and environment.

    Without them a file that several stages read is shown once.
    """
    return _branch(node, {source.input: source.name for source in items.sources.values()}, commands)


def _branch(node: Node, names: dict[str, str], commands: bool) -> Tree:
    tree = Tree(_title(node, names))
    if node.record and commands and not node.again:
        for line in _details(node.record):
            tree.add(f"[dim]{escape(line)}")
    for child in node.children:
        if child.path != NOTHING and (commands or not child.again):
            tree.children.append(_branch(child, names, commands))
    return tree


def _title(node: Node, names: dict[str, str]) -> str:
    title = f"{escape(node.path)} [dim]{node.md5[:8]}[/]"
    if node.record is None:
        return f"{title} [bold]{escape(names[node.path])}" if node.path in names else title
    return f"{title} ← {node.record['stage'].split('@')[0]}{' (as above)' if node.again else ''}"


def _details(record: Record) -> Iterator[str]:
    yield record["lock"]["cmd"]
    modules = sum(dep["path"].endswith(".py") for dep in record["lock"]["deps"])
    code, environment = record["code"], record["environment"]
    commit = (
        f"commit {code['commit'][:12]}{', dirty' * code['dirty']}" if code else "no commit known"
    )
    yield f"code: {modules} modules, {commit}"
    if environment:
        yield "environment: " + ", ".join(f"{k} {v}" for k, v in environment.items() if v)


def items_table(items: Catalog) -> Table:
    """Every item of the catalog with what it is made of."""
    table = Table("kind", "item", "made of", box=None, pad_edge=False)
    for key, source in items.sources.items():
        table.add_row("source", key, escape(source.name) + _overrides(source.frames))
    for key, training in items.trainings.items():
        made_of = f"{training.base} on {items.encodings[training.encoding].dataset}"
        table.add_row("training", key, made_of + _overrides(training.finetune_base))
    for key, subject in items.subjects.items():
        own = subject.finetune_unet
        table.add_row("subject", key, f"{subject.source} on {subject.base}{_overrides(own)}")
    for key, render in items.renders.items():
        own = _overrides(render.sample)
        table.add_row("render", key, f"{render.subject} in {render.driving}{own}")
    return table


def _overrides(values: Overrides) -> str:
    return escape("".join(f", {key} {value}" for key, value in values.items()))


def status_table(stale: dict[Address, list[str]], total: int) -> Group | str:
    """Stages that are not fresh, and why."""
    if not stale:
        return f"All {total} stages are up to date."
    table = Table("stage", "item", "why", box=None, pad_edge=False)
    for address, reasons in stale.items():
        table.add_row(*address, escape(_short(reasons)))
    fresh = total - len(stale)
    return Group(table, f"{fresh} of {total} stages are up to date. Next: dreampose animate …")


def _short(reasons: Sequence[str]) -> str:
    more = f" and {len(reasons) - 3} more" * (len(reasons) > 3)
    return "; ".join(reasons[:3]) + more


def dataset_table(dataset: Dataset) -> Group:
    """How many clips and frames there are, and why some are left out."""
    table = Table("", "clips", "frames", box=None, pad_edge=False)
    for part in ("train", "test"):
        clips = getattr(dataset, part)
        table.add_row(part, str(len(clips)), str(sum(clip.count for clip in clips)))
    left_out = Table("left out", "why", box=None, pad_edge=False)
    for failure in dataset.failed:
        left_out.add_row(escape(failure.name), escape(failure.reason))
    return Group(table, *([left_out] if dataset.failed else []))


def item_table(
    items: Catalog,
    group: str,
    key: str,
    entries: dict[Address, Record],
    stale: dict[Address, list[str]],
) -> Table:
    """One item: its fields, its stages with their outputs, who uses it."""
    table = Table(group.removesuffix("s"), key, box=None, pad_edge=False)
    for name, value in getattr(items, group)[key].model_dump().items():
        if value not in ({}, NOTHING):
            table.add_row(name, escape(str(value)))
    for address in {**entries, **stale}:
        state = _short(stale[address]) if address in stale else "fresh"
        outs = entries.get(address, {"outs": []})["outs"]
        sizes = ", ".join(f"{out['path']} ({out['size'] / 2**20:.1f} MiB)" for out in outs)
        table.add_row(address.stage, escape(f"{state}: {sizes}" if sizes else state))
    for other, name in items.users(group, key):
        table.add_row("used by", f"{other.removesuffix('s')}/{name}")
    return table


def say_reproduced(outputs: Iterable[Reproduced]) -> None:
    """One line an output. Raises InputError at the end where bytes differ."""
    different = []
    for output in outputs:
        same = output.recorded == output.now
        verdict = "the same bytes" if same else "OTHER bytes"
        console.print(f"{output.stage}: {verdict}", markup=False)
        console.print(f"  {output.path}", style="dim", markup=False)
        if not same:
            different.append(output.stage)
    if different:
        raise InputError(
            f"{', '.join(different)} made other bytes than recorded",
            "compare the environment: dreampose lineage shows the recorded one",
        )
    console.print("Everything was made again, bit for bit.")


def garbage_table(found: Sequence[Waste], *, removed: bool) -> Group | str:
    """What nothing needs, by kind, and what to do about it."""
    if not found:
        return "Everything here is needed."
    table = Table("what nothing needs", "number", "MiB", "for example", box=None, pad_edge=False)
    for waste in found:
        size = f"{waste.size / 2**20:.1f}"
        table.add_row(waste.kind, str(len(waste.paths)), size, escape(str(waste.paths[0])))
    return Group(table, "All of it was removed." if removed else "Next: dreampose gc --yes")


def doctor_table(findings: Iterable[Finding]) -> Table:
    """What was found, and remedies where something is missing."""
    table = Table("", "found", "to do", box=None, pad_edge=False)
    for finding in findings:
        style = "yellow" if finding.remedy else ""
        table.add_row(finding.subject, escape(finding.found), escape(finding.remedy), style=style)
    return table
