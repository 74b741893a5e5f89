"""The verbs that work without anybody: `reprocess`, once, `serve`, on a schedule,
`deploy` and `work`, on many machines."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from tyro.conf import Positional, arg

from common.errors import InputError
from flows import plan as planning
from flows import report, server, summary
from flows.place import InWorkspace
from flows.report import console
from tasks import attempts, inbox, watchdog, workspace


@dataclass(frozen=True)
class Reprocess(InWorkspace):
    """Do what is new or changed in the inbox: inbox/subjects × inbox/clips, by params.yaml."""

    again: bool = False
    """try failed items now, whatever was decided about them"""

    def run(self) -> None:
        self.enter()
        if inbox.settings().pool:
            server.require()
        with attempts.alone():
            watchdog.guard()
            try:
                plan = self._plan_and_do()
            finally:
                watchdog.end_children()
        console.print(summary.table(plan.lines))
        sys.exit(any(line.outcome == "failed" for line in plan.lines))

    def _plan_and_do(self) -> planning.Plan:
        ready = server.begin() if planning.likely() else None
        plan = planning.make(again=self.again)
        if not plan.units:
            summary.write(plan)
            return plan
        (ready or server.begin())()
        with report.Board(plan.stages()).shown():
            from flows.reprocess import carry_out

            carry_out(plan)
        return plan


@dataclass(frozen=True)
class Serve(InWorkspace):
    """Run Prefect's server and look into the inbox on schedule, until interrupted."""

    port: Annotated[int, arg(metavar="N")] = 4200
    """of the server, on this machine only"""

    def run(self) -> None:
        self.enter()
        cron = inbox.settings().cron
        server.check_cron(cron)
        attempts.FOLDER.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(attempts.FOLDER / ".serve.lock", timeout=0):
                self._serve(cron)
        except Timeout:
            raise InputError("this workspace is served already", "end the other one") from None

    def _serve(self, cron: str) -> None:
        watchdog.guard()
        os.environ[workspace.VARIABLE] = str(Path.cwd())
        try:
            with server.running(self.port) as (address, processes):
                processes.append(server.start("-m", "flows.schedule", cron))
                console.print(f"Prefect's UI: {address}\nThe inbox is looked into at: {cron}")
                server.wait_for_an_end(processes)
        finally:
            watchdog.end_children()


@dataclass(frozen=True)
class Deploy(InWorkspace):
    """Let other machines share the work: set up a Prefect work pool for their workers."""

    pool: Annotated[Positional[str], arg(metavar="POOL")]

    def run(self) -> None:
        self.enter()
        server.require()
        from flows.share import deploy

        deploy(self.pool)
        console.print(
            f"The pool {self.pool} is set up. Next: dreampose work {self.pool} in clones of this "
            f"workspace, and pool: {self.pool} in params.yaml, section inbox",
            markup=False,
        )


@dataclass(frozen=True)
class Work(InWorkspace):
    """Do the work of a pool in this clone, until interrupted."""

    pool: Annotated[Positional[str], arg(metavar="POOL")]

    def run(self) -> None:
        self.enter()
        server.require()
        watchdog.guard()
        os.environ[workspace.VARIABLE] = str(Path.cwd())
        try:
            server.wait_for_an_end([server.start_worker(self.pool)])
        finally:
            watchdog.end_children()
