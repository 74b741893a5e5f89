"""How Prefect is set up: for one command of its own, and as the server of a workspace."""

from __future__ import annotations

import os
from pathlib import Path

_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def for_one_command() -> None:
    """Prefect's settings for one command of its own; what the user has set stays."""
    _set_defaults(
        PREFECT_HOME=str(Path("data/prefect").absolute()),
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        PREFECT_LOGGING_LEVEL="CRITICAL",
        PREFECT_LOGGING_TO_API_ENABLED="false",
        **_QUIET,
    )


def _set_defaults(**values: str) -> None:
    for name, value in values.items():
        os.environ.setdefault(name, value)
