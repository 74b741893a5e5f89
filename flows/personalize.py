"""Flow: a base is finetuned to a subject, from the subject's raw photo or clip on."""

from __future__ import annotations

from prefect import flow

from flows import order
from tasks import catalog
from tasks.bridge import StageRun
from tasks.steps import bring_up_to_date


@flow(name="personalize", flow_run_name="personalize {subject}")
def personalize(subject: str) -> list[StageRun]:
    """The subject's own UNet and VAE."""
    items = catalog.load()
    source = items.subjects[subject].source
    return bring_up_to_date([*order.prepare(source), *order.personalize(items, subject)])
