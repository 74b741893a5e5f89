"""Flow: stages done for another clone. A worker runs it in a clone of its own.

The coordinator sends the items and where their raw bytes are; the worker takes from the DVC remote
what others made already, runs the rest, and pushes outputs and run cache. The coordinator then
repeats the same stages with `dvc repro --pull`, which runs nothing: it alone writes the lock files
that count. How each output was made travels back as an artifact.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.flows import EntrypointType

from common.errors import InputError
from common.files import file_hash, write_text
from tasks import bridge, catalog, device, graph, lineage, parameters, workspace
from tasks.catalog import Catalog
from tasks.graph import Address
from tasks.steps import step

DEPLOYED, RECORDS = "share", "lineage"


def parcel(items: Catalog, addresses: Sequence[Address]) -> dict[str, Any]:
    """What a worker needs to know to run these stages, as plain data."""
    wanted = {(graph.stages()[address.stage].group, address.item) for address in addresses}
    for group, key in list(wanted):
        wanted |= items.made_of(group, key)
    part = {
        group: {k: item for k, item in members.items() if (group, k) in wanted}
        for group, members in items.model_dump().items()
    }
    raws = [Path(source["input"] + ".dvc") for source in part["sources"].values()]
    return {
        "items": part,
        "raws": {path.as_posix(): path.read_text(encoding="utf-8") for path in raws},
        "stages": [list(address) for address in addresses],
        "program": program(),
    }


def program() -> str:
    """A hash of the graph, the parameters and all code: clones that differ cannot share."""
    paths = [Path("dvc.yaml"), Path("params.yaml")]
    for room in workspace.ROOMS:
        paths += sorted(Path(room).rglob("*.py"))
    hashes = [(path.as_posix(), file_hash(path)) for path in paths]
    return hashlib.md5(json.dumps(hashes).encode(), usedforsecurity=False).hexdigest()


@flow(name=DEPLOYED, flow_run_name="{unit}")
def share(unit: str, sent: dict[str, Any]) -> None:
    """Bring the stages of a parcel up to date in this clone and push them."""
    os.chdir(workspace.find(Path.cwd()))
    if sent["program"] != program():
        raise InputError("this clone is not the same as the coordinator's", "bring it up to date")
    parameters.load()
    given = Catalog.model_validate(sent["items"])
    given.check()
    expected = {f"{source.input}.dvc" for source in given.sources.values()}
    for name in expected:
        write_text(Path(name), sent["raws"][name])
    with catalog.edit() as items:
        for group in Catalog.model_fields:
            getattr(items, group).update(getattr(given, group))
    bridge.pull(sorted(expected))
    addresses = [Address(*names) for names in sent["stages"]]
    with device.scheduled():
        for address in addresses:
            step(address.stage)(address.item, pull=True)
    bridge.push(graph.targets(addresses).values())
    create_markdown_artifact(json.dumps(lineage.told(addresses)), key=RECORDS)


def deploy(pool: str) -> None:
    """Register the flow for a work pool of processes, which is made where there is none."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    made = share.to_deployment(pool, entrypoint_type=EntrypointType.MODULE_PATH)
    made.apply(work_pool_name=pool)
