"""Flow: a source is cut to frames and its poses are found."""

from __future__ import annotations

from prefect import flow

from flows import order
from tasks.bridge import StageRun
from tasks.steps import bring_up_to_date


@flow(name="prepare", flow_run_name="prepare {source}")
def prepare(source: str) -> list[StageRun]:
    """Frames, dump and poses of a source."""
    return bring_up_to_date(order.prepare(source))
