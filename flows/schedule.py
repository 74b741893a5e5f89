"""The inbox on a schedule: `python -m flows.schedule CRON` beside a server runs `reprocess`."""

from __future__ import annotations

import sys

from prefect.flows import EntrypointType

from flows.reprocess import reprocess

NAME = "inbox"


def look_on_schedule(cron: str) -> None:
    """Run `reprocess` whenever `cron` says, one at a time, until interrupted.

    A run that a kill left behind as running blocks no later one: what keeps two apart is the
    inbox's own lock.
    """
    reprocess.serve(
        name=NAME,
        cron=cron,
        limit=1,
        print_starting_message=False,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    look_on_schedule(sys.argv[1])
