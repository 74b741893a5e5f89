"""What a run over the inbox has to do: which stages of which items, and what stands in the way.

A *unit* is what succeeds or fails by itself: a clip, a subject, or a render of the two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from common.errors import InputError
from common.settings import Limits
from flows import order
from tasks import attempts, bridge, catalog, freshness, graph, inbox, inputs, parameters
from tasks.attempts import Memory
from tasks.catalog import Catalog
from tasks.graph import Address
from tasks.inbox import CLIPS, SUBJECTS, Entry, Settings

Outcome = Literal["done", "unchanged", "skipped", "failed"]


@dataclass(frozen=True)
class Unit:
    """A clip, a subject or a render: its own stages, and the units whose stages come before.

    `chain` are all stages that it takes, those of these units included.
    """

    name: str
    stamp: str
    addresses: tuple[Address, ...] = ()
    chain: tuple[Address, ...] = ()
    after: tuple[str, ...] = ()
    entry: Entry | None = None
    video: str | None = None


@dataclass(frozen=True)
class Line:
    """What became of a unit in this run, and why where that needs a word."""

    item: str
    outcome: Outcome
    why: str = ""
    seconds: float = 0.0
    video: str | None = None
    failing: bool = False
    """whether what needs this unit has to wait"""


@dataclass
class Plan:
    """The units with something to run, in running order; `needed` stages; what is decided."""

    settings: Settings
    memory: Memory
    units: list[Unit] = field(default_factory=list)
    needed: set[Address] = field(default_factory=set)
    lines: list[Line] = field(default_factory=list)
    begin: float = field(default_factory=time.time)

    def stages(self) -> list[Address]:
        """Every stage that is to run, once, in running order."""
        wanted = (address for unit in self.units for address in unit.addresses)
        return list(dict.fromkeys(address for address in wanted if address in self.needed))

    def failed(self, unit: Unit, reason: str, *, own: bool = True) -> Line:
        """Count a failure of a unit; after the last attempt the item is put aside.

        Only a failure of its `own` counts towards that, not one of the machine.
        """
        failure = self.memory.failed(unit.name, unit.stamp, reason, own=own)
        if failure.own < self.settings.attempts:
            then = f"next attempt in {_duration(attempts.wait(failure, self.settings.backoff))}"
        elif unit.entry:
            folder = inbox.reject(unit.name, [unit.entry.path, unit.entry.settings], reason)
            self.memory.succeeded(unit.name)
            then = f"moved to {folder}"
        else:
            folder = inbox.reject(unit.name, [], reason)
            then = f"given up until one of the two changes, see {folder}"
        why = f"{reason} (failed {failure.count}×, {then})"
        return Line(unit.name, "failed", why, failing=True)

    def hindered(self, unit: Unit) -> Line | None:
        """The unit as skipped, where what it needs is not ready or it failed not long ago."""
        missing = [line.item for line in self.lines if line.failing and line.item in unit.after]
        if missing:
            return Line(unit.name, "skipped", f"not ready: {', '.join(missing)}", failing=True)
        failure = self.memory.failure(unit.name, unit.stamp)
        if failure is None:
            return None
        before = f"failed {failure.count}×, {failure.reason}"
        wait = attempts.wait(failure, self.settings.backoff)
        if unit.entry is None and failure.own >= self.settings.attempts:
            return Line(unit.name, "skipped", f"given up: {before}", failing=True)
        if wait:
            why = f"next attempt in {_duration(wait)}: {before}"
            return Line(unit.name, "skipped", why, failing=True)
        return None


def make(*, again: bool = False) -> Plan:
    """Look into the inbox, take in what is new, ask what is stale.

    With `again` earlier failures do not count.
    """
    parameters.load()
    plan = Plan(inbox.settings(), Memory.load())
    if again:
        plan.memory.failures.clear()
    entries, passed = inbox.scan(plan.settings.settle)
    plan.lines += [Line(one.name, "skipped", one.reason) for one in passed]
    taken = list(_take_in(plan, entries))
    with catalog.edit() as items:
        units = list(_units(items, taken, plan.settings))
    plan.memory.keep({*map(str, entries), *map(str, passed), *(unit.name for unit in units)})
    plan.memory.save()
    plan.needed = _needed(items, units)
    for unit in units:
        if line := plan.hindered(unit):
            plan.lines.append(line)
        elif plan.needed.isdisjoint(unit.addresses):
            plan.lines.append(Line(unit.name, "unchanged", video=unit.video))
        else:
            plan.units.append(unit)
    return plan


def _needed(items: Catalog, units: list[Unit]) -> set[Address]:
    """The stages of these units that DVC would run.

    It is asked about those units only of which some stage is not as recorded: DVC takes 25 ms a
    stage, the records one.
    """
    everything = list(dict.fromkeys(address for unit in units for address in unit.addresses))
    changed = freshness.stale(items.model_dump(), everything)
    asked = [unit for unit in units if not changed.keys().isdisjoint(unit.addresses)]
    wanted = list(dict.fromkeys(address for unit in asked for address in unit.chain))
    return graph.needed(wanted, bridge.stale(wanted)) if wanted else set()


def likely() -> bool:
    """Whether there seems to be something to do: an item that no run has taken in yet."""
    memory, (entries, _) = Memory.load(), inbox.scan(inbox.settings().settle)
    return any(memory.raw_of(e) is None and not memory.failure(str(e), e.stamp) for e in entries)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _take_in(plan: Plan, entries: list[Entry]) -> Iterator[tuple[Entry, tuple[str, str], Any]]:
    """Entries with raw key and path, and overrides; those that cannot be used become lines."""
    limits = parameters.limits()
    for entry in entries:
        unit = Unit(str(entry), entry.stamp, entry=entry)
        known = plan.memory.raw_of(entry)
        if known is None and (line := plan.hindered(unit)):
            plan.lines.append(line)
            continue
        try:
            overrides = inbox.overrides(entry)
            if known is None:
                _check(entry, overrides.frames, limits)
                known = inputs.take_in(entry.path)
                if not inbox.untouched(entry):
                    plan.lines.append(Line(unit.name, "skipped", "still being written"))
                    continue
                plan.memory.known[unit.name] = attempts.Known(entry.stamp, *known)
        except (InputError, OSError) as error:
            own = isinstance(error, InputError)
            plan.lines.append(plan.failed(unit, str(error), own=own))
        else:
            yield entry, known, overrides


def _check(entry: Entry, cut: dict[str, Any], limits: Limits) -> None:
    if entry.kind == CLIPS and entry.path.is_dir():
        raise InputError(f"{entry.path} is a folder", "put one video a clip")
    ways = ("fps", "start", "end", "max_frames")
    inputs.probe(entry.path, limits, **{name: cut[name] for name in ways if name in cut})


def _units(
    items: Catalog, taken: list[tuple[Entry, tuple[str, str], Any]], settings: Settings
) -> Iterator[Unit]:
    """Register everything; clips first, then each subject with its renders."""
    sources = {
        entry: items.add_source(*raw, entry.path.name, **overrides.of_source)
        for entry, raw, overrides in taken
    }
    clips = [(entry, overrides) for entry, _, overrides in taken if entry.kind == CLIPS]
    for entry, _ in clips:
        stages = tuple(order.prepare(sources[entry]))
        yield Unit(str(entry), entry.stamp, stages, stages, entry=entry)
    for entry, _, own in taken:
        if entry.kind != SUBJECTS:
            continue
        subject = items.add_subject(
            sources[entry], finetune_unet=own.finetune_unet, finetune_vae=own.finetune_vae
        )
        stages = (*order.prepare(sources[entry]), *order.personalize(items, subject))
        yield Unit(str(entry), entry.stamp, stages, stages, entry=entry)
        for clip, its in clips:
            if not any(rule.matches(entry.name, clip.name) for rule in settings.renders):
                continue
            render = items.add_render(
                subject,
                sources[clip],
                {**own.sample, **its.sample},
                audio=its.audio,
                retarget=its.retarget,
            )
            chain = tuple(order.animate(items, render))
            before = {*stages, *order.prepare(sources[clip])}
            yield Unit(
                f"{entry.path.name} in {clip.path.name}",
                entry.stamp + clip.stamp,
                tuple(address for address in chain if address not in before),
                chain,
                after=(str(entry), str(clip)),
                video=f"data/videos/{render}.mp4",
            )


def shared(address: Address) -> bool:
    """Whether a stage belongs to no single item: its failure is nobody's fault in particular."""
    return graph.stages()[address.stage].group == "bases"
