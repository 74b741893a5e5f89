"""Flow: everything new or changed in the inbox, from raw files to videos, unattended.

One unit that fails never stops the others. Only one such run is at work in a workspace at a time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import plan as planning
from flows import summary
from flows.plan import Line, Plan, Unit
from tasks import attempts, device
from tasks.bridge import StageError
from tasks.steps import run_needed


@flow(name="reprocess", flow_run_name="reprocess")
def reprocess() -> State[Any]:
    """Look into the inbox of the current workspace and do what there is to do.

    Where another run is at it already, nothing is done.
    """
    with suppress(attempts.BusyError), attempts.alone():
        return _carry_out(planning.make())
    return Completed(message=str(attempts.BusyError()))


@flow(name="reprocess by hand", flow_run_name="reprocess", validate_parameters=False)
def reprocess_planned() -> State[Any]:
    """Do what is planned already; the caller holds the inbox."""
    return _carry_out(_planned.pop())


_planned: list[Plan] = []


def carry_out(plan: Plan) -> None:
    """Do what is planned, in a flow run of its own; `plan.lines` tell what became of it."""
    _planned.append(plan)
    reprocess_planned()


def _carry_out(plan: Plan) -> State[Any]:
    with device.scheduled():
        for unit in plan.units:
            plan.lines.append(plan.hindered(unit) or _line(plan, unit))
    file = summary.write(plan)
    create_table_artifact(
        table=[asdict(line) for line in plan.lines], key="inbox", description=str(file)
    )
    create_markdown_artifact(markdown=summary.markdown(plan.lines), key="inbox-summary")
    return Completed(message=summary.totals(plan.lines))


def _line(plan: Plan, unit: Unit) -> Line:
    """Bring a unit up to date, whatever happens."""
    begin = time.monotonic()
    try:
        runs = run_needed(unit.addresses, plan.needed)
    except StageError as error:
        return plan.failed(unit, str(error), of_item=not planning.shared(error.address))
    except Exception as error:
        return plan.failed(unit, f"{type(error).__name__}: {error}", of_item=False)
    plan.memory.succeeded(unit.name)
    plan.needed -= {run.address for run in runs}
    made = any(run.outcome != "unchanged" for run in runs)
    outcome = "done" if made else "unchanged"
    return Line(unit.name, outcome, seconds=round(time.monotonic() - begin, 1), video=unit.video)
