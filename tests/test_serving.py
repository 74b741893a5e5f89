"""`serve`, `deploy` and `work`: server and schedule, two workers of which one is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import pytest
import test_inbox
from test_chain import at_work, wait_until
from test_operating import free_port

from common.errors import InputError
from flows import server
from tasks import bridge, catalog, graph, workspace
from tasks.graph import Address
from tasks.inbox import CLIPS, INBOX, SUBJECTS


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the command in a workspace; what is left of it ends with the test."""
    running = []

    def start(place: Path, *arguments: object, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "flows", *map(str, arguments)]
        with open(tmp_path / f"{place.name}-{arguments[0]}.log", "wb") as log:
            given = {**os.environ, "TMPDIR": str(tmp_path), **environment}
            process = subprocess.Popen(command, cwd=place, env=given, stdout=log, stderr=log)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def create(place: Path, **parameters: object) -> Path:
    """A workspace of the small preset that takes an inbox as it is."""
    workspace.create(place, "tiny")
    test_inbox.set_parameters(place, settle=0, **parameters)
    for folder in (SUBJECTS, CLIPS):
        (place / INBOX / folder).mkdir(parents=True)
    return place


def listening(port: int) -> set[str]:
    """The addresses, in hex, at which somebody on this machine listens to a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    return {
        row[1].split(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f"{port:04X}")
    }


@pytest.mark.long
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_the_service_works_on_schedule_and_ends_whole(tmp_path, start, kind):
    place, port = create(tmp_path / "served", cron='"* * * * *" #'), free_port()
    process = start(place, "serve", "--port", port)
    runs = place / "data/inbox/runs"
    wait_until(lambda: runs.exists() or process.poll() is not None, 900)
    assert json.loads(next(runs.iterdir()).read_text())["items"] == []
    assert listening(port) == {"0100007F"}
    assert start(place, "serve", "--port", free_port()).wait() == 2
    process.send_signal(kind)
    assert process.wait() != 0
    wait_until(lambda: not at_work(place) and not listening(port), 5)


def test_a_taken_port_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with server.socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match="--port"), server.running(other.getsockname()[1]):
            pytest.fail("it started")


def test_without_a_server_nothing_is_shared(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    with pytest.raises(InputError, match="no server answers"):
        server.require()
    monkeypatch.delenv("PREFECT_API_URL")
    with pytest.raises(InputError, match="no server answers"):
        server.require()


WRITE = """
stages:
  write:
    foreach: ${words}
    do: {cmd: "date +%N > ${key}.txt", deps: ["${item}"], outs: ["${key}.txt"]}
"""


def set_remote(place: Path, store: Path) -> None:
    """Give a workspace a folder as its DVC remote."""
    with open(place / ".dvc/config.local", "a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {store}\n")


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_what_one_clone_made_another_takes_from_the_remote(toy, tmp_path_factory):
    """Of a command that makes other bytes every time: so nothing was run again."""
    here, there = toy(WRITE, {"words": {"a": "word.txt"}}), tmp_path_factory.mktemp("clones") / "b"
    (here / "word.txt").write_text("word\n")
    set_remote(here, there.with_name("store"))
    shutil.copytree(here, there, symlinks=True)
    address = Address("write", "a")
    assert bridge.run_stage(address).outcome == "ran"
    bridge.push(graph.targets([address]).values())
    with inside(there):
        assert bridge.run_stage(address, pull=True).outcome == "restored"
    assert (there / "a.txt").read_bytes() == (here / "a.txt").read_bytes()
    lock = "data/items/words/a/dvc.lock"
    assert (there / lock).read_bytes() == (here / lock).read_bytes()


def test_without_a_remote_nothing_is_pushed(toy):
    toy(WRITE, {"words": {"a": "word.txt"}})
    Path("word.txt").write_text("word\n")
    bridge.run_stage(Address("write", "a"))
    with pytest.raises(InputError, match="dvc remote add"):
        bridge.push(graph.targets([Address("write", "a")]).values())


def test_a_lost_connection_is_tried_again(toy, monkeypatch):
    """The remote is a web server that begins to answer after the first attempt."""
    here, port = toy(WRITE, {"words": {"a": "word.txt"}}), free_port()
    (here / "word.txt").write_text("word\n")
    bridge.add(Path("word.txt"))
    set_remote(here, here / "store")
    bridge.push(["word.txt.dvc"])
    (here / "word.txt").unlink()
    shutil.rmtree(here / ".dvc/cache")
    config = here / ".dvc/config.local"
    config.write_text(config.read_text().replace(str(here / "store"), f"http://127.0.0.1:{port}"))
    run, attempts = bridge._run, []

    def counted(*given: object) -> int:
        attempts.append(run(*given))
        if len(attempts) == 1:
            command = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
            servers.append(subprocess.Popen(command, cwd=here / "store", stderr=subprocess.DEVNULL))
            wait_until(lambda: listening(port), 60)
        return attempts[-1]

    servers: list[subprocess.Popen] = []
    monkeypatch.setattr(bridge, "_run", counted)
    monkeypatch.setattr(bridge, "_LOST_SECONDS", (0.1,))
    try:
        bridge.pull(["word.txt.dvc"])
    finally:
        for process in servers:
            process.kill()
            process.wait()
    assert attempts[0] != 0
    assert attempts[1:] == [0]
    assert (here / "word.txt").read_text() == "word\n"


@pytest.mark.parametrize("cron", ["61 * * * *", "often", ""])
def test_a_schedule_that_is_none_is_refused(cron):
    with pytest.raises(InputError, match="is no schedule"):
        server.check_cron(cron)
    server.check_cron("*/5 * * * *")


def test_an_item_is_made_of_all_that_it_needs(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").symlink_to(workspace.HOME / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    with catalog.edit() as items:
        anna = items.add_source("anna-1", "data/raw/anna-1/source.png", "a")
        walk = items.add_source("walk-2", "data/raw/walk-2/source.mp4", "w")
        subject = items.add_subject(anna)
        render = items.add_render(subject, walk)
    assert items.made_of("renders", render) == {
        *(("sources", anna), ("sources", walk), ("subjects", subject)),
        *(("bases", "default"), ("motions", f"{anna}--{walk}")),
    }
    assert items.made_of("sources", anna) == set()


def fill_inbox(place: Path) -> None:
    """Eight subjects, one photo in eight colours, and a clip of two frames."""
    photo = cv2.imread(str(workspace.HOME / "examples/subject.png"))
    hue, *others = cv2.split(cv2.cvtColor(photo, cv2.COLOR_BGR2HSV))
    for index in range(8):
        turned = cv2.merge([(hue + 22 * index) % 180, *others])
        cv2.imwrite(
            str(place / INBOX / SUBJECTS / f"s{index}.png"),
            cv2.cvtColor(turned, cv2.COLOR_HSV2BGR),
        )
    clips = place / INBOX / CLIPS
    shutil.copyfile(workspace.HOME / "examples/driving.mp4", clips / "walk.mp4")
    (clips / "walk.yaml").write_text("frames: {max_frames: 2}\n")


@pytest.mark.long
def test_two_workers_share_and_one_is_killed(tmp_path, start):
    """Eight subjects; the first worker that has one in hand is killed, the other does them all.

    Everything is done once, and is what a single machine makes.
    """
    store, port = tmp_path / "store", free_port()
    url = f"http://127.0.0.1:{port}/api"
    alone = create(tmp_path / "alone")
    places = [create(tmp_path / name, pool="workers #") for name in ("coordinator", "one", "two")]
    for place in places:
        set_remote(place, store)
    for place in (alone, places[0]):
        fill_inbox(place)
    coordinator, *clones = places
    start(coordinator, "serve", "--port", port)
    wait_until(lambda: "UI:" in (tmp_path / "coordinator-serve.log").read_text(), 900)
    assert start(coordinator, "deploy", "workers", PREFECT_API_URL=url).wait() == 0
    workers = [start(place, "work", "workers", PREFECT_API_URL=url) for place in clones]
    run = start(coordinator, "reprocess", PREFECT_API_URL=url)

    def busy() -> list[int]:
        return [i for i in (0, 1) if any(clones[i].glob("data/runs/finetune-unet-*/log.txt"))]

    wait_until(lambda: bool(busy()) or run.poll() is not None, 900)
    killed = busy()[0]
    workers[killed].kill()
    assert run.wait() == 0
    assert workers[1 - killed].poll() is None
    assert not at_work(clones[killed])

    assert start(alone, "reprocess").wait() == 0
    locks = sorted((alone / "data/items").glob("*/*/dvc.lock"))
    assert len(locks) == 1 + 9 + 8 + 8 + 8  # base, sources, subjects, motions, renders
    for lock in locks:
        ours = coordinator / lock.relative_to(alone)
        assert graph.read_yaml(ours)["stages"] == graph.read_yaml(lock)["stages"]
    videos = sorted((alone / "data/videos").glob("*.mp4"))
    assert len(videos) == 8
    for path in videos:
        assert (coordinator / path.relative_to(alone)).read_bytes() == path.read_bytes()
    records = [json.loads(p.read_text()) for p in (coordinator / "data/lineage").glob("*.json")]
    assert all(record["environment"]["torch"] for record in records)
    (summary,) = (coordinator / "data/inbox/runs").glob("*.json")
    assert json.loads(summary.read_text())["totals"] == {"done": 17}
    with suppress(FileNotFoundError):
        assert not list((coordinator / "data/runs").iterdir())


@pytest.mark.long
def test_a_server_that_is_started_anew_stops_no_run(tmp_path, start):
    """Killed while a stage runs, and back with the same runs in its database."""
    port = free_port()
    places = [create(tmp_path / name) for name in ("undisturbed", "disturbed")]
    for place in places:
        shutil.copyfile(
            workspace.HOME / "examples/subject.png", place / INBOX / SUBJECTS / "anna.png"
        )
    assert start(places[0], "reprocess").wait() == 0

    def serve() -> subprocess.Popen:
        process = start(places[1], "serve", "--port", port)
        said = tmp_path / "disturbed-serve.log"
        wait_until(lambda: "UI:" in said.read_text() or process.poll() is not None, 900)
        return process

    server = serve()
    run = start(places[1], "reprocess", PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    stage = places[1] / "data/runs"
    wait_until(lambda: any(stage.glob("reformat-*/log.txt")) or run.poll() is not None, 900)
    server.kill()
    server.wait()
    wait_until(lambda: not listening(port), 60)
    serve()
    if run.wait():
        assert start(places[1], "reprocess").wait() == 0
    locks = sorted((places[0] / "data/items").glob("*/*/dvc.lock"))
    assert len(locks) == 3
    for lock in locks:
        ours = places[1] / lock.relative_to(places[0])
        assert graph.read_yaml(ours)["stages"] == graph.read_yaml(lock)["stages"]
