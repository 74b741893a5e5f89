"""The verbs that work without anybody: `reprocess`, once, and `serve`, on a schedule."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from flows import plan as planning
from flows import report, server, summary
from flows.place import InWorkspace
from flows.report import console
from tasks import attempts, watchdog


@dataclass(frozen=True)
class Reprocess(InWorkspace):
    """Do what is new or changed in the inbox: inbox/subjects × inbox/clips, by params.yaml."""

    again: bool = False
    """try failed items now, whatever was decided about them"""

    def run(self) -> None:
        self.enter()
        with attempts.alone():
            plan = planning.make(again=self.again)
            if plan.units:
                watchdog.guard()
                server.for_one_command()
                with report.Board(plan.stages()).shown():
                    from flows.reprocess import carry_out

                    carry_out(plan)
            else:
                summary.write(plan)
        console.print(summary.table(plan.lines))
        sys.exit(any(line.outcome == "failed" for line in plan.lines))
