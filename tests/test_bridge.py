"""The bridge to DVC, on a toy graph of trivial commands."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tasks import bridge, lineage
from tasks.graph import Address

GRAPH = """
stages:
  write:
    foreach: ${words}
    do: {cmd: "echo ${item} > ${key}.txt", deps: [slow.py], outs: ["${key}.txt"]}
  refuse:
    foreach: ${one}
    do:
      cmd: >-
        echo '{"code": 2, "problem": "it is bad", "remedy": "be good"}'
        > $DREAMPOSE_RUN_DIR/error.json && exit 2
      outs: ["never.txt"]
  crash:
    foreach: ${one}
    do: {cmd: "echo oh no && exit 3", outs: ["never2.txt"]}
  slow:
    foreach: ${one}
    do: {cmd: "python slow.py", outs: ["slow.txt"]}
"""
SLOW = """
import os, pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
run_dir = pathlib.Path(os.environ["DREAMPOSE_RUN_DIR"])
with open(run_dir / "progress.jsonl", "a") as lines:
    lines.write('{"label": "slow", "done": 1, "total": 60, "seconds": 0, "note": ""}\\n')
pathlib.Path("pids.txt").write_text(f"{os.getpid()} {child.pid}")
child.wait()
"""


@pytest.fixture
def here(toy):
    yield toy(GRAPH, {"words": {"a": "one", "b": "two"}, "one": {"a": "one"}}, slow=SLOW)
    for pid in _pids():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    """The slow stage's own process and its child."""
    with suppress(FileNotFoundError):
        return [int(pid) for pid in Path("pids.txt").read_text().split()]
    return []


def _run_slow_elsewhere() -> subprocess.Popen:
    """The slow stage in a process of its own, once it has really begun."""
    code = "from tasks import bridge, graph; bridge.run_stage(graph.Address('slow', 'a'))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not _pids():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def _all_gone_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(map(_gone, _pids())):
            return True
        time.sleep(0.1)
    return False


def test_a_stage_runs_once_and_is_restored_from_the_cache(here):
    address = Address("write", "a")
    assert list(bridge.stale([address])) == [address]
    assert bridge.run_stage(address).outcome == "ran"
    assert bridge.stale([address]) == {}
    assert bridge.run_stage(address).outcome == "unchanged"
    (here / "a.txt").unlink()
    (here / "data/items/words/a/dvc.lock").unlink()
    assert bridge.run_stage(address).outcome == "restored"
    assert (here / "a.txt").read_text() == "one\n"
    assert not list(bridge.RUNS.iterdir())


def test_the_programs_own_error_comes_back(here):
    with pytest.raises(bridge.StageError) as caught:
        bridge.run_stage(Address("refuse", "a"))
    error = caught.value
    assert (error.problem, error.remedy, error.code) == ("it is bad", "be good", 2)


def test_a_crash_names_the_log(here):
    with pytest.raises(bridge.StageError, match="exited with 3") as caught:
        bridge.run_stage(Address("crash", "a"))
    assert caught.value.code == 1
    assert "oh no" in Path(caught.value.remedy.rpartition(" ")[2]).read_text()


def test_an_interrupt_ends_all_children(here):
    def interrupt(progress):
        assert progress["total"] == 60
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bridge.run_stage(Address("slow", "a"), interrupt)
    assert _all_gone_within(5)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_stage_and_its_children_end_with_the_caller(here, monkeypatch, kind, shell):
    monkeypatch.setenv("SHELL", shell)
    process = _run_slow_elsewhere()
    os.kill(process.pid, kind)
    process.wait()
    assert _all_gone_within(5)


def test_a_busy_stage_is_told_from_a_failed_one(here):
    process, slow = _run_slow_elsewhere(), Address("slow", "a")
    try:
        with pytest.raises(bridge.StageBusyError, match=r"busy.*PID \d+"):
            bridge.run_stage(slow)
        assert bridge.stale([slow]) == {slow: ["another process is at work"]}
        assert bridge.run_stage(Address("write", "b")).outcome == "ran"
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.wait()


def test_a_file_is_put_under_dvcs_care(here):
    (here / "photo.png").write_bytes(b"picture")
    bridge.add(Path("photo.png"))
    listed = (here / "photo.png.dvc").read_text()
    assert lineage.content_hash(Path("photo.png")) in listed
