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
from flows import sharing, summary
from flows.plan import Line, Plan, Unit
from tasks import attempts, bridge, device, graph
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
        (_share if plan.settings.pool else _do)(plan)
    file = summary.write(plan)
    create_table_artifact(
        table=[asdict(line) for line in plan.lines], key="inbox", description=str(file)
    )
    create_markdown_artifact(markdown=summary.markdown(plan.lines), key="inbox-summary")
    return Completed(message=summary.totals(plan.lines))


def _do(plan: Plan) -> None:
    for unit in plan.units:
        plan.lines.append(plan.hindered(unit) or _line(plan, unit))


def _share(plan: Plan) -> None:
    """Let a pool's workers do the units; here only what all share is made, and what they made
    is repeated from the DVC remote.
    """
    common = [address for address in plan.stages() if planning.shared(address)]
    if common:
        run_needed(common, plan.needed)
        bridge.push(graph.targets(common).values())
        plan.needed -= set(common)
    entries = [unit for unit in plan.units if unit.entry]
    for units in (entries, [unit for unit in plan.units if not unit.entry]):
        hindered = [line for unit in units if (line := plan.hindered(unit))]
        names = {line.item for line in hindered}
        plan.lines += hindered
        ready = [unit for unit in units if unit.name not in names]
        for unit, problem in sharing.give_out(plan.settings.pool, ready):
            plan.lines.append(
                plan.failed(unit, problem, own=problem.startswith(StageError.__name__))
                if problem
                else _line(plan, unit, pull=True)
            )


def _line(plan: Plan, unit: Unit, *, pull: bool = False) -> Line:
    """Bring a unit up to date, whatever happens."""
    begin = time.monotonic()
    try:
        runs = run_needed(unit.addresses, plan.needed, pull=pull)
    except StageError as error:
        return plan.failed(unit, str(error), own=not planning.shared(error.address))
    except Exception as error:
        return plan.failed(unit, f"{type(error).__name__}: {error}", own=False)
    plan.memory.succeeded(unit.name)
    plan.needed -= {run.address for run in runs}
    made = any(run.outcome != "unchanged" for run in runs)
    outcome = "done" if made else "unchanged"
    return Line(unit.name, outcome, seconds=round(time.monotonic() - begin, 1), video=unit.video)
