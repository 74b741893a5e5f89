"""What a flow run leaves in Prefect's own pages: figures, contact sheet, where the report is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE

from tasks import catalog, page, panels, readings
from tasks.graph import Address

_SHEET = 720
"""Pixels of the contact sheet's height: it is stored in Prefect's database."""


@task(name="report", task_run_name="report@{render}", cache_policy=NO_CACHE)
def report(render: str, addresses: Sequence[Address]) -> Path:
    """Make the page of a render and tell Prefect of it; returns the page's path."""
    made = page.bring_up_to_date(catalog.load(), render, addresses)
    rows = [
        {"about": heading, "figure": row.name, "value": row.value, "what it means": row.reading}
        for heading, rows in readings.table(page.metrics(render))
        for row in rows
    ]
    create_table_artifact(rows, key=f"figures-{render}", description=f"Figures of {render}")
    sheet = panels.still(page.contact(render), _SHEET).uri
    create_markdown_artifact(f"![contact sheet]({sheet})", key=f"sheet-{render}")
    create_link_artifact(
        made.absolute().as_uri(),
        link_text=str(made.absolute()),
        key=f"report-{render}",
        description="Browsers follow no link from a server to a file: copy the address.",
    )
    return made
