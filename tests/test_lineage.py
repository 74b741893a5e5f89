"""Lineage on a toy graph: records, trees, members of folders, copies, no git commit."""

import json
import shutil
from pathlib import Path

import pytest

from common.errors import InputError
from tasks import bridge, lineage
from tasks.bridge import StageRun
from tasks.graph import Address

ITEMS = {"photos": {"a": "photo.txt", "b": "photo.txt"}, "names": {"a": "a"}}
GRAPH = """
stages:
  cut:
    foreach: ${photos}
    do:
      cmd: "mkdir -p out/${key}/sub; cp ${item} out/${key}/0; echo x > out/${key}/sub/1"
      deps: ["${item}", make.py]
      outs: ["out/${key}"]
  join:
    foreach: ${names}
    do:
      cmd: "cat out/${item}/0 out/${item}/sub/1 > joined.txt"
      deps: ["out/${item}"]
      outs: [joined.txt]
"""


@pytest.fixture
def made(toy) -> Path:
    folder = toy(GRAPH, ITEMS, make="print()\n")
    (folder / "photo.txt").write_text("a photo\n")
    for address in (Address("cut", "a"), Address("join", "a")):
        lineage.record([bridge.run_stage(address)])
    return folder


def test_a_tree_goes_back_to_the_raw_input(made):
    node = lineage.tree(Path("joined.txt"))
    assert (node.path, node.record["stage"]) == ("joined.txt", "join@a")
    (folder,) = node.children
    assert (folder.path, folder.record["stage"]) == ("out/a", "cut@a")
    (raw,) = folder.children
    assert (raw.path, raw.record) == ("photo.txt", None)
    assert raw.md5 == lineage.content_hash(Path("photo.txt"))


def test_folders_members_and_copies_are_known(made, tmp_path_factory):
    assert lineage.tree(Path("out/a")).record["stage"] == "cut@a"
    assert lineage.tree(Path("out/a/sub/1")).path == "out/a/sub/1"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    copy = shutil.copyfile("joined.txt", elsewhere / "mine.txt")
    assert lineage.tree(Path(copy)).record["stage"] == "join@a"
    shutil.copytree("out/a", elsewhere / "frames")
    assert lineage.tree(elsewhere / "frames").record["stage"] == "cut@a"


def test_an_old_file_keeps_its_origin(made):
    old = Path(shutil.copyfile("joined.txt", "old.txt"))
    Path("photo.txt").write_text("another photo\n")
    for address in (Address("cut", "a"), Address("join", "a")):
        lineage.record([bridge.run_stage(address)])
    raw = lineage.tree(old).children[0].children[0]
    new = lineage.tree(Path("joined.txt")).children[0].children[0]
    assert new.md5 == lineage.content_hash(Path("photo.txt")) != raw.md5


def test_another_clone_learns_how_it_was_made(made):
    addresses = [Address("cut", "a"), Address("join", "a")]
    records = json.loads(json.dumps(lineage.told(addresses)))
    assert [record["stage"] for record in records] == ["cut@a", "join@a"]
    shutil.rmtree(lineage.RECORDS)
    lineage.adopt(records)
    lineage.record([StageRun(address, "restored", 0.1) for address in addresses])
    assert lineage.told(addresses) == records
    assert lineage.tree(Path("joined.txt")).record["environment"]["python"]
    records[0]["lock"]["outs"][0]["path"] = "../elsewhere"
    with pytest.raises(InputError, match="cannot be read"):
        lineage.adopt(records)


def test_equal_bytes_of_two_stages_keep_apart(made):
    lineage.record([bridge.run_stage(Address("cut", "b"))])
    assert lineage.tree(Path("joined.txt")).children[0].record["stage"] == "cut@a"


def test_a_record_says_how_it_was_made(made):
    record = lineage.tree(Path("joined.txt")).record
    assert record["lock"]["cmd"].startswith("cat out/a/0")
    assert record["code"] is None
    assert record["environment"]["python"].startswith("3.")
    assert record["seconds"] > 0


def test_what_dvc_made_alone_has_no_environment(made):
    shutil.rmtree(lineage.RECORDS)
    lineage.record([bridge.run_stage(Address("join", "a"))])
    assert lineage.tree(Path("joined.txt")).record["environment"] is None


def test_a_true_record_is_not_written_again(made):
    before = {path: path.read_text() for path in lineage.RECORDS.iterdir()}
    lineage.record([bridge.run_stage(Address(stage, "a")) for stage in ("cut", "join")])
    assert {path: path.read_text() for path in lineage.RECORDS.iterdir()} == before
    assert all(json.loads(text)["environment"] for text in before.values())


def test_a_strange_file_is_refused(made):
    Path("mine.txt").write_text("mine")
    with pytest.raises(InputError, match="no stage of this workspace"):
        lineage.tree(Path("mine.txt"))
    with pytest.raises(InputError, match="does not exist"):
        lineage.tree(Path("nowhere.txt"))
