"""Flow: a render, from two raw inputs to a video with its evaluation."""

from __future__ import annotations

from prefect import flow

from flows import order
from tasks import catalog
from tasks.bridge import StageRun
from tasks.steps import bring_up_to_date


@flow(name="animate", flow_run_name="animate {render}")
def animate(render: str) -> list[StageRun]:
    """Everything a render needs that is not yet up to date."""
    return bring_up_to_date(order.animate(catalog.load(), render))
