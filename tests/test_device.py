"""Turns at the device: between processes, after kills, people before schedules."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from common.errors import InputError
from tasks import device, graph
from tasks.graph import Address

SAMPLE, CUT = Address("sample", "a"), Address("frames", "a")
HOLD = """
import sys, time
from tasks import device
from tasks.graph import Address
with device.turn(Address("sample", "b"), print):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""
ATTEND = """
import time
from tasks import device
with device.attended():
    print("attended", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_locks(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def elsewhere():
    """Runs code in another process, once it has said that it holds something."""
    running = []

    def start(code: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_one_stage_at_a_time(elsewhere):
    other = elsewhere(HOLD, "1")
    told = []
    with device.turn(SAMPLE, told.append):
        assert other.wait() == 0
    assert told == ["device 0 is at work"]


def test_a_stage_that_does_not_compute_waits_for_nobody(elsewhere):
    other = elsewhere(HOLD, "60")
    with device.turn(CUT, pytest.fail):
        assert other.poll() is None


def test_another_device_is_free(elsewhere, monkeypatch):
    elsewhere(HOLD, "60")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with device.turn(SAMPLE, pytest.fail):
        pass


def test_a_killed_holder_lets_go(elsewhere):
    other = elsewhere(HOLD, "60")
    other.kill()
    other.wait()
    with device.turn(SAMPLE, pytest.fail):
        pass


def test_work_on_schedule_stands_back_for_people(elsewhere):
    person = elsewhere(ATTEND)

    def leave(_reason: str) -> None:
        person.kill()
        person.wait()

    with device.turn(SAMPLE, pytest.fail):
        assert person.poll() is None
    with device.scheduled(), device.turn(SAMPLE, leave):
        assert person.poll() is not None


def test_waiting_work_gives_way_to_people_who_come_later(elsewhere):
    """Work that waits for the device behind another stage lets a person's stage go first."""
    code = HOLD.replace("with device.turn", "with device.scheduled(), device.turn")
    first = elsewhere(HOLD, "2")
    waiting = subprocess.Popen([sys.executable, "-c", code, "0"], stdout=subprocess.PIPE)
    assert b"at work" in waiting.stdout.readline()
    with device.attended(), device.turn(SAMPLE, lambda _: None):
        assert first.wait() == 0
        time.sleep(1)
        assert waiting.poll() is None
    assert waiting.wait() == 0


def test_without_a_lock_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(device.os, "getuid", lambda: 12345)
    Path(tmp_path, "dreampose-12345").mkdir()
    with pytest.raises(InputError, match="is not ours"), device.turn(SAMPLE, pytest.fail):
        pytest.fail("it ran")


def test_what_takes_turns_are_stages():
    assert graph.stages().keys() > device.STAGES
