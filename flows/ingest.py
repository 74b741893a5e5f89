"""Flow: many sources prepared, several at a time; those that fail are left behind."""

from __future__ import annotations

from prefect import flow

from common.progress import Progress
from flows import order
from tasks.steps import bring_all_up_to_date


@flow(name="ingest", flow_run_name="ingest {dataset}")
def ingest(dataset: str, sources: list[str], workers: int) -> dict[str, str]:
    """Frames, dumps and poses of the sources; what went wrong with each that failed."""
    failed = {}
    with Progress(f"clips of {dataset}", len(sources)) as progress:
        chains = {source: order.prepare(source) for source in sources}
        for source, error in bring_all_up_to_date(chains, workers):
            if error:
                failed[source] = error.problem
            progress.advance(note=f"({len(failed)} failed)" * bool(failed))
    return failed
