"""One Prefect task per stage of `dvc.yaml`: the only way a flow runs a stage.

Call a task directly, never by `.submit()`: a cancelled submission leaves its children running.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from typing import Any
from uuid import UUID

import httpx
from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from tasks import bridge, device, events, graph, lineage, parameters
from tasks.bridge import StageBusyError, StageError, StageRun, run_stage
from tasks.graph import Address

_BUSY_RETRIES, _BUSY_SECONDS = 17_280, 5  # a day
_ARTIFACT_SECONDS = 5.0


def _is_busy(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), StageBusyError)


@cache
def step(stage: str) -> Task[..., StageRun]:
    """The task that brings a stage of an item up to date; with `pull` others' work counts."""

    @task(
        name=stage,
        task_run_name=f"{stage}@{{item}}",
        cache_policy=NO_CACHE,
        retries=_BUSY_RETRIES,
        retry_delay_seconds=_BUSY_SECONDS,
        retry_condition_fn=_is_busy,
    )
    def run(item: str, pull: bool = False) -> StageRun:
        address = Address(stage, item)
        events.tell(events.Started(address))
        try:
            with device.turn(address, lambda reason: events.tell(events.Waiting(address, reason))):
                done = run_stage(address, _Reporter(address), pull=pull)
        except StageBusyError as error:
            events.tell(events.Waiting(address, error.problem))
            raise
        lineage.record([done])
        events.tell(events.Finished(done))
        return done

    return run


def bring_up_to_date(addresses: Sequence[Address]) -> list[StageRun]:
    """Run, one after the other, what DVC calls stale and what follows from it.

    Raises InputError where params.yaml holds what may not reach a command.
    """
    parameters.load()
    return run_needed(addresses, graph.needed(addresses, bridge.stale(addresses)))


def run_needed(
    addresses: Sequence[Address], needed: Collection[Address], *, pull: bool = False
) -> list[StageRun]:
    """Run, one after the other, those of the stages that are needed; the others are fresh.

    With `pull` what another clone pushed to the DVC remote is taken from there.
    """
    fresh = {a: StageRun(a, "unchanged", 0.0) for a in addresses if a not in needed}
    lineage.record(fresh.values())
    for run in fresh.values():
        events.tell(events.Finished(run))
    return [fresh.get(a) or step(a.stage)(a.item, pull=pull) for a in addresses]


def bring_all_up_to_date(
    chains: Mapping[str, Sequence[Address]], workers: int
) -> Iterator[tuple[str, StageError | None]]:
    """Run every chain's stages one after the other, so many chains at a time.

    Yields each chain's name as it ends, with the error that ended it if one did. The stages are
    processes of their own, so threads wait for them; an interrupt ends them all.
    """

    def run(addresses: Sequence[Address]) -> StageError | None:
        try:
            for address in addresses:
                step(address.stage)(address.item)
        except StageError as error:
            return error
        return None

    with ThreadPoolExecutor(workers) as pool:
        running = {
            pool.submit(copy_context().run, run, addresses): name
            for name, addresses in chains.items()
        }
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            bridge.stopping.set()
            pool.shutdown(cancel_futures=True)
            bridge.stopping.clear()
            raise


class _Reporter:
    """Hands the program's progress to the listeners and, now and then, to Prefect."""

    def __init__(self, address: Address):
        self.address = address
        self.artifact: UUID | None = None
        self.last = time.monotonic()

    def __call__(self, progress: dict[str, Any]) -> None:
        events.tell(events.Advanced(self.address, progress))
        if time.monotonic() - self.last < _ARTIFACT_SECONDS:
            return
        self.last = time.monotonic()
        share = 100 * progress["done"] / max(1, progress["total"])
        with suppress(httpx.HTTPError):  # a server that is away for a while stops no stage
            if self.artifact is None:
                self.artifact = create_progress_artifact(share, description=str(self.address))
            else:
                update_progress_artifact(self.artifact, share)
