"""What is stale over all items, without DVC; and commands as DVC itself writes them."""

import shutil
from pathlib import Path

import pytest
from dvc.parsing.interpolate import to_str
from hypothesis import given
from hypothesis import strategies as st

from tasks import bridge, freshness, graph
from tasks.graph import Address

GRAPH = """
stages:
  cut:
    foreach: ${things}
    do:
      cmd: python -m room cut ${key} ${cut} ${item.cut}
      deps: [photo.txt, cut.py]
      outs: ["out/${key}"]
  join:
    foreach: ${things}
    do:
      cmd: python -m room join ${key} ${join} ${item.join}
      deps: ["out/${key}", join.py]
      outs: ["joined/${key}"]
"""
ROOM = """
import pathlib, sys
verb, key = sys.argv[1:3]
out = pathlib.Path({"cut": "out", "join": "joined"}[verb], key)
out.parent.mkdir(exist_ok=True)
out.write_text(" ".join(sys.argv))
"""
CUT, JOIN = Address("cut", "a"), Address("join", "a")
ITEMS = {"things": {"a": {"cut": {"size": 3}, "join": {}}}}


@pytest.fixture
def made(toy):
    folder = toy(GRAPH, ITEMS, room=ROOM, cut="1\n", join="1\n")
    (folder / "photo.txt").write_text("a photo\n")
    (folder / "params.yaml").write_text("cut: {mode: 'a b'}\njoin: {fast: false}\n")
    for address in (CUT, JOIN):
        assert bridge.run_stage(address).outcome == "ran"
    return folder


def stale() -> dict[Address, list[str]]:
    return freshness.stale(ITEMS, [CUT, JOIN])


def test_what_just_ran_is_fresh(made):
    assert stale() == {}
    assert bridge.stale([CUT, JOIN]) == {}


def test_other_parameters(made):
    (made / "params.yaml").write_text("cut: {mode: 'a b'}\njoin: {fast: true}\n")
    assert stale() == {JOIN: ["other parameters"]}
    assert list(bridge.stale([CUT, JOIN])) == [JOIN]


@pytest.mark.parametrize("name", ["photo.txt", "cut.py"])
def test_a_changed_input_and_what_follows(made, name):
    (made / name).write_text("another\n")
    assert stale() == {CUT: [f"changed: {name}"], JOIN: ["after cut@a"]}
    assert list(bridge.stale([CUT, JOIN])) == [CUT]


def test_a_lost_output_and_a_lost_lock(made):
    (made / "out/a").unlink()
    assert stale() == {CUT: ["not there: out/a"], JOIN: ["after cut@a"]}
    (made / "data/items/things/a/dvc.lock").unlink()
    assert stale() == {CUT: ["missing"], JOIN: ["missing"]}


def test_a_new_dependency(made):
    text = graph.GRAPH.read_text().replace("[photo.txt, cut.py]", "[photo.txt, cut.py, join.py]")
    graph.GRAPH.write_text(text)
    assert stale()[CUT] == ["new dependency: join.py"]


def test_a_copied_file_is_the_same_file(made):
    shutil.copyfile("photo.txt", "other.txt")
    Path("photo.txt").unlink()
    shutil.copyfile("other.txt", "photo.txt")
    assert stale() == {}


_VALUES = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("ab '\";$\\*-é", max_size=9)
)


@given(st.dictionaries(st.from_regex("[a-z_]{1,8}", fullmatch=True), _VALUES, max_size=5))
def test_arguments_are_written_as_dvc_writes_them(values):
    theirs = to_str(values, {"bool": "boolean_optional"})
    assert freshness.render("${given}", {"given": values}) == theirs.split()
