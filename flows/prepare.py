"""Flow: a source is cut to frames and its poses are found."""

from __future__ import annotations

from prefect import flow

from flows import order
from tasks.bridge import StageRun
from tasks.steps import step


@flow(name="prepare", flow_run_name="prepare {source}")
def prepare(source: str) -> list[StageRun]:
    """Frames, dump and poses of a source."""
    return [step(stage)(item) for stage, item in order.prepare(source)]
