"""What can be checked of Dockerfile and compose files without an engine."""

import fnmatch
import re
import shlex

import pytest
import yaml

from densepose_prep.detectron2_backend import PYTHON
from flows.cli import VERBS
from tasks import workspace

ROOT = workspace.HOME
TARGETS = ("cpu", "cuda")
SECRET = re.compile(r"(token|password|passwd|secret|api_key|credential)", re.IGNORECASE)


def instructions() -> list[tuple[str, str]]:
    """Keyword and rest of every instruction of the Dockerfile."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Every stage's instructions, those of the stage that it builds on first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for keyword, rest in instructions():
        if keyword == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = list(found.get(parent, []))
        else:
            found[name].append((keyword, rest))
    return found


def values(stage: str, keyword: str) -> list[str]:
    return [rest for word, rest in stages()[stage] if word == keyword]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_special_and_says_how_it_is(target):
    assert values(target, "USER")[-1] == "1000"
    assert any("--uid 1000" in command for command in values(target, "RUN"))
    assert values(target, "ENTRYPOINT") == ['["dreampose"]']
    (check,) = values(target, "HEALTHCHECK")
    assert yaml.safe_load(check.partition("CMD ")[2])[1] in VERBS


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_copied_exists_and_belongs_to_the_user(target):
    ignored = (ROOT / ".dockerignore").read_text().split()
    for copy in values(target, "COPY"):
        *options, source, _ = shlex.split(copy)
        assert "--chown=studio" in options
        if not any(option.startswith("--from=") for option in options):
            assert (ROOT / source).exists()
            assert not any(fnmatch.fnmatch(source, pattern) for pattern in ignored)


def test_nothing_private_is_copied():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", "data/*", ".dvc/config.local", ".dvc/cache", ".venv"} <= set(ignored)


def test_no_secret_goes_in():
    for keyword, rest in instructions():
        assert keyword not in ("ARG", "ADD")
        assert not SECRET.search(rest), rest
    for path in (ROOT / "compose.yaml", ROOT / "deploy/gpu.compose.yaml"):
        assert not SECRET.search(path.read_text()), path


def test_detectron2_is_the_one_of_the_docs():
    commands = " ".join(values("detectron2", "RUN"))
    docs = (ROOT / "docs/densepose.md").read_text()
    pinned = set(re.findall(r"git\+https://\S+@[\w#=/.]+", commands))
    assert len(pinned) == 2
    assert pinned == set(re.findall(r"git\+https://\S+@[\w#=/.]+", docs))
    (folder,) = re.findall(rf"{PYTHON}=(\S+)/bin/python", " ".join(values("cuda", "ENV")))
    assert f"venv {folder} " in commands
    assert any(
        copy.endswith(f"--from=detectron2 {folder} {folder}") for copy in values("cuda", "COPY")
    )


def test_both_environments_have_one_torch():
    (ours,) = re.findall(r"^torch==\S+", (ROOT / "requirements.txt").read_text(), re.M)
    assert ours in " ".join(values("detectron2", "RUN")).split()


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_services_run_commands_that_exist(services):
    assert set(services) == {"server", "worker"}
    for service in services.values():
        assert service["build"]["target"] in TARGETS
        (script,) = service["command"]
        used = re.findall(r"dreampose (\w+)", script)
        assert used
        assert set(used) <= VERBS.keys()


def test_services_write_to_volumes_that_the_user_owns(services):
    content = yaml.safe_load((ROOT / "compose.yaml").read_text())
    made = " ".join(values("cpu", "RUN"))
    for service in services.values():
        for volume in service["volumes"]:
            name, place, *_ = volume.split(":")
            assert name in content["volumes"]
            assert re.search(rf"mkdir .*{place}\b", made)


def test_services_have_no_rights_that_they_do_not_need(services):
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service
        assert not service.get("privileged")


def test_the_gpu_file_changes_services_that_exist(services):
    content = yaml.safe_load((ROOT / "deploy/gpu.compose.yaml").read_text())
    assert content["services"].keys() == services.keys()
    assert all(service["build"]["target"] == "cuda" for service in content["services"].values())
