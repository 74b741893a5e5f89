"""The coordinator's side of `flows.share`: units go out to a work pool and come back as results.

A run whose worker died is given to another. Knows nothing of what a unit is but its stages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from common.errors import InputError
from flows.plan import Unit
from flows.server import BEAT_SECONDS
from flows.share import DEPLOYED, RECORDS, parcel
from tasks import bridge, catalog, lineage

_SILENT = timedelta(seconds=3.5 * BEAT_SECONDS)
_POLL_SECONDS = 2.0
_LIVES = 3
_HEARTBEAT = "prefect.flow-run.heartbeat"


def give_out(pool: str, units: Sequence[Unit]) -> Iterator[tuple[Unit, str]]:
    """Have units done by the pool's workers.

    Yields each when it is back, with what went wrong, or with "" where its stages are in the DVC
    remote. Raises InputError where there is no such pool or no remote.
    """
    items = catalog.load()
    sources = {a.item for unit in units for a in unit.chain if a.stage == "frames"}
    if sources:
        bridge.push(sorted(f"{items.sources[key].input}.dvc" for key in sources))
    with get_client(sync_client=True) as client:
        deployment = _deployment(client, pool)

        def send(unit: Unit) -> FlowRun:
            given = {"unit": unit.name, "sent": parcel(items, unit.chain)}
            return client.create_flow_run_from_deployment(
                deployment, name=unit.name, parameters=given
            )

        out = [(unit, send(unit).id, _LIVES) for unit in units]
        while out:
            time.sleep(_POLL_SECONDS)
            for one in list(out):
                unit, run_id, lives = one
                run = _look(client, run_id)
                if not run.state.is_final():
                    continue
                out.remove(one)
                if run.state.is_completed():
                    yield unit, _adopted(_records(client, run_id))
                elif run.state.is_failed() or lives == 1:
                    yield unit, _problem(run)
                else:
                    out.append((unit, send(unit).id, lives - 1))


def _look(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
    """A run as it is now; one that is not heard of any more is made a crashed one."""
    run = client.read_flow_run(run_id)
    if not run.state.is_final() and _is_silent(client, run):
        client.set_flow_run_state(run_id, Crashed(message="not heard of any more"), force=True)
        run = client.read_flow_run(run_id)
    return run


def _deployment(client: SyncPrefectClient, pool: str) -> UUID:
    try:
        return client.read_deployment_by_name(f"{DEPLOYED}/{pool}").id
    except ObjectNotFound:
        remedy = f"run: dreampose deploy {pool}"
        raise InputError(f"the pool '{pool}' is not set up", remedy) from None


def _is_silent(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a run that a worker took has not been heard of for too long."""
    now = datetime.now(UTC)
    if run.state.is_scheduled() or now - (run.start_time or run.state.timestamp) < _SILENT:
        return False
    beats = EventFilter(
        event=EventNameFilter(name=[_HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    found = client.read_events(beats, limit=1).events
    return not found or now - found[0].occurred > _SILENT


def _adopted(records: list[lineage.Record]) -> str:
    """Keep how a worker made its outputs; what went wrong with that, or ""."""
    try:
        lineage.adopt(records)
    except InputError as error:
        return error.problem
    return ""


def _records(client: SyncPrefectClient, run_id: UUID) -> list[lineage.Record]:
    """How the worker says that it made the outputs."""
    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            key=ArtifactFilterKey(any_=[RECORDS]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
        )
    )
    return [record for artifact in found for record in json.loads(artifact.data)]


def _problem(run: FlowRun) -> str:
    """What a failed run says, without Prefect's words before it."""
    message = run.state.message or run.state.name
    return message.partition("exception: ")[2] or message
