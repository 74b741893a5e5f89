"""docs/operating.md: every command of it, in one session; the templates for workers."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import cv2
import pytest
from chain import at_work

from flows import cli
from tasks import graph, workspace

DOCUMENT = workspace.HOME / "docs/operating.md"
EXAMPLES = workspace.HOME / "examples"


def commands() -> list[str]:
    """The lines after `$` in the document's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.long
def test_every_command_of_the_guide_works(tmp_path):
    """With the small preset, a clip cut short and a port that is free; the rest as written."""
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    shutil.copyfile(EXAMPLES / "subject.png", home / "anna.png")
    cv2.imwrite(str(home / "bob.png"), cv2.imread(str(EXAMPLES / "subject.png"))[:, ::-1])
    shutil.copyfile(EXAMPLES / "driving.mp4", home / "walk.mp4")
    (home / "bin").mkdir()
    for name, module in (("dreampose", "flows"), ("prefect", "prefect"), ("dvc", "dvc")):
        wrapper = home / "bin" / name
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        wrapper.chmod(0o755)
    script = "\n".join(commands()).replace("4200", str(port)).replace("preset mini", "preset tiny")
    script = script.replace("dreampose serve", f"dreampose serve --port {port}")
    script = script.replace(
        "cd studio\n", "cd studio; sed -i 's/frames: 0/frames: 2/' params.yaml\n"
    )
    paths = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": paths, "PYTHONPATH": str(workspace.HOME), "TMPDIR": str(tmp_path)}
    log = tmp_path / "log.txt"
    try:
        with open(log, "wb") as said:
            done = subprocess.run(
                ["bash", "-emc", script],
                cwd=home,
                env={**os.environ, **environment},
                stdout=said,
                stderr=said,
            )
    finally:
        for pid in at_work(tmp_path):
            os.kill(pid, signal.SIGKILL)
    text = log.read_text()
    assert done.returncode == 0, text[-5000:]
    made = {path.name: path.read_bytes() for path in (home / "studio/data/videos").iterdir()}
    restored = {path.name: path.read_bytes() for path in (home / "restored/data/videos").iterdir()}
    assert len(made) == 2
    assert made == restored
    assert re.findall(r"All \d+ stages are up to date", text)
    assert graph.read_yaml(home / "worker/params.yaml")["inbox"]["pool"] == "workers"


def test_the_guide_names_only_verbs_that_exist():
    verbs = set(re.findall(r"dreampose ([a-z]+)", "\n".join(commands())))
    assert {"reprocess", "serve", "deploy", "work"} <= verbs <= cli.VERBS.keys()


@pytest.mark.parametrize("name", ["worker.compose.yaml", "worker.kubernetes.yaml"])
def test_a_template_says_what_the_guide_says(name):
    text = (workspace.HOME / "deploy" / name).read_text()
    assert graph.read_yaml(workspace.HOME / "deploy" / name)
    given = {line.strip() for line in text.splitlines()}
    assert "exec dreampose work workers" in given
    assert any("dvc remote add --local --default store" in line for line in given)
    assert "dreampose init /home/studio/worker" in given


def test_the_guide_lists_all_settings_of_the_inbox():
    section = graph.read_yaml(workspace.HOME / "params.yaml")["inbox"]
    text = DOCUMENT.read_text()
    assert [name for name in section if f"`{name}`" not in text and f"{name}:" not in text] == []
