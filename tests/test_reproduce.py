"""A file made again from its lineage: on this code, on an old commit's, and where that is gone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from common.errors import InputError
from tasks import bridge, lineage, workspace
from tasks.graph import Address
from tasks.reproduce import reproduce

GRAPH = """
stages:
  cut:
    foreach: ${photos}
    do:
      cmd: python -m tasks.toy ${item} out/${key} --twice
      deps: ["${item}", tasks/toy.py]
      outs: ["out/${key}"]
  join:
    foreach: ${names}
    do:
      cmd: python -m tasks.toy out/${item}/0 joined.txt
      deps: ["out/${item}", tasks/toy.py]
      outs: [joined.txt]
"""
TOY = """
import pathlib, sys
source, out, *twice = sys.argv[1:]
text = pathlib.Path(source).read_text()
if twice:
    pathlib.Path(out).mkdir(parents=True)
    out = out + "/0"
pathlib.Path(out).write_text(text + "made\\n")
"""


@pytest.fixture
def made(toy):
    folder = toy(GRAPH, {"photos": {"a": "photo.txt"}, "names": {"a": "a"}})
    for room in workspace.ROOMS:
        (folder / room).unlink()
        (folder / room).mkdir()
    for module in ("__init__", "bridge", "graph", "dvc_quick", "reading", "cache"):
        shutil.copyfile(workspace.HOME / f"tasks/{module}.py", folder / f"tasks/{module}.py")
    shutil.copytree(workspace.HOME / "common", folder / "common", dirs_exist_ok=True)
    (folder / "tasks/toy.py").write_text(TOY)
    (folder / "photo.txt").write_text("a photo\n")
    return folder


def make() -> None:
    for address in (Address("cut", "a"), Address("join", "a")):
        lineage.record([bridge.run_stage(address)])


def git(*arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


def test_the_bytes_are_equal(made):
    make()
    outputs = list(reproduce(Path("joined.txt")))
    assert [output.stage for output in outputs] == ["cut@a", "join@a"]
    assert all(output.recorded == output.now for output in outputs)
    assert outputs[-1].path.read_text() == "a photo\nmade\nmade\n"


def test_a_program_that_is_not_exact_is_found_out(made):
    (made / "tasks/toy.py").write_text(TOY + "open(out, 'a').write(str(__import__('os').getpid()))")
    make()
    assert all(output.recorded != output.now for output in reproduce(Path("joined.txt")))


def test_old_code_comes_from_its_commit(made):
    git("init", "-q")
    git("add", "tasks", "common")
    git("commit", "-qm", "first")
    make()
    (made / "tasks/toy.py").write_text(TOY.replace("made", "changed"))
    outputs = list(reproduce(Path("joined.txt")))
    assert outputs[-1].recorded == outputs[-1].now


def test_code_that_is_gone_is_named(made):
    make()
    (made / "tasks/toy.py").write_text("pass")
    with pytest.raises(InputError, match=r"tasks/toy\.py is no longer the code"):
        list(reproduce(Path("joined.txt")))


def test_an_input_that_is_gone_is_named_unless_the_cache_has_it(made):
    make()
    (made / "photo.txt").unlink()
    with pytest.raises(InputError, match=r"photo\.txt is no longer as it was"):
        list(reproduce(Path("joined.txt")))
    (made / "photo.txt").write_text("a photo\n")
    bridge.add(Path("photo.txt"))
    (made / "photo.txt").unlink()
    assert all(output.recorded == output.now for output in reproduce(Path("joined.txt")))
