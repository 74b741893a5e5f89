"""Flow: a base is finetuned to a dataset."""

from __future__ import annotations

from prefect import flow

from flows import order
from tasks import catalog
from tasks.bridge import StageRun
from tasks.steps import bring_up_to_date


@flow(name="train", flow_run_name="train {training}")
def train(training: str) -> list[StageRun]:
    """The dataset encoded once, the base finetuned, its model ready as another base."""
    return bring_up_to_date(order.train(catalog.load(), training))
