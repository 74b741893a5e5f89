"""Flow: a render, from two raw inputs to a video with its evaluation and report."""

from __future__ import annotations

from prefect import flow

from flows import order
from tasks import catalog
from tasks.artifacts import report
from tasks.bridge import StageRun
from tasks.steps import bring_up_to_date


@flow(name="animate", flow_run_name="animate {render}")
def animate(render: str) -> list[StageRun]:
    """Everything a render needs that is not yet up to date, and its page."""
    addresses = order.animate(catalog.load(), render)
    runs = bring_up_to_date(addresses)
    report(render, addresses)
    return runs
