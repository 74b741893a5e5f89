"""The lock: it holds what the project asks for, and it is what these tests run on."""

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def requirements(name: str) -> dict[str, Requirement]:
    """The requirements in a file, by canonical name."""
    lines = [line.split(" #")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def pin(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_the_lock_holds_what_is_asked_for():
    locked = requirements("requirements.txt")
    for name, wanted in requirements("requirements.in").items():
        assert pin(locked[name]) in wanted.specifier


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_what_is_locked_is_what_is_installed(lock):
    installed = {name: version(name).split("+")[0] for name in requirements(lock)}
    assert installed == {name: pin(wanted) for name, wanted in requirements(lock).items()}
