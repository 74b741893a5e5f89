"""What `dreampose gc` calls waste, and that nothing needed is touched; commits by the program."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import InputError
from flows import cli
from tasks import cache, catalog, commits, garbage, graph, workspace

OLD = time.time() - 30 * 86_400


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A workspace in no git checkout."""
    folder = tmp_path / "workspace"
    workspace.create(folder, "tiny")
    monkeypatch.chdir(folder)
    return folder


def git(*arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def write(path: str | Path, content: str = "x", *, old: bool = True) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if old:
        for place in (path, path.parent):
            os.utime(place, (OLD, OLD))
    return path


def kept_bytes(content: str) -> str:
    """Put bytes into the cache; returns their hash."""
    md5 = hashlib.md5(content.encode()).hexdigest()
    write(cache.cached(md5), content)
    return md5


def kept_folder(*contents: str) -> str:
    files = [{"md5": kept_bytes(c), "relpath": f"{i}.png"} for i, c in enumerate(contents)]
    listing = json.dumps(files)
    md5 = hashlib.md5(listing.encode()).hexdigest() + ".dir"
    write(cache.cached(md5), listing)
    return md5


def lock(group: str, key: str, md5: str) -> Path:
    """As DVC records it: `md5` was made of the hash of "dep"."""
    dep = hashlib.md5(b"dep").hexdigest()
    text = (
        f"stages:\n  x:\n    deps:\n    - path: d\n      md5: {dep}\n    outs:\n    - md5: {md5}\n"
    )
    return write(graph.item_folder(group, key) / "dvc.lock", text)


def source(name: str) -> str:
    """Register a source with its raw copy, its frames and its lock; returns its key."""
    key = f"{name}-00000000"
    path = f"data/raw/{key}/source.png"
    write(path, name)
    write(f"{path}.dvc", f"outs:\n- md5: {kept_bytes(name)}\n  path: source.png\n")
    os.utime(Path(path).parent, (OLD, OLD))
    with catalog.edit() as items:
        items.add_source(key, path, name)
    write(f"data/frames/{key}/000000.png")
    lock("sources", key, kept_folder(f"{name} 0", f"{name} 1"))
    return key


def waste() -> dict[str, list[str]]:
    return {found.kind: list(map(str, found.paths)) for found in garbage.find()}


def test_what_an_item_needs_stays(here):
    key = source("anna")
    kept_bytes("dep")
    for half in (f".{key}.partial", f".{key}.resume"):
        write(f"data/frames/{half}/000000.png")
    (md5,) = (m for m in garbage.needed_hashes(catalog.load()) if m.endswith(".dir"))
    write(f"data/lineage/{md5}-frames@{key}.json")
    assert waste() == {}
    garbage.clear()
    assert Path(f"data/frames/{key}/000000.png").exists()


def test_what_a_removed_item_left_goes(here):
    kept = source("anna")
    gone = source("ben")
    with catalog.edit() as items:
        items.remove("sources", gone)
    write(f"data/frames/.{gone}.resume/state")
    write(f"data/lineage/{'0' * 32}-frames@{gone}.json")
    write(".dvc/cache/runs/aa/bb/cc", f"outs:\n- md5: {'0' * 32}\n")
    write("data/runs/sample-x/log.txt")
    write(f"data/pages/{gone}--{gone}.html")
    write("data/pages/index.html")
    found = waste()
    assert found["outputs of removed items"] == [
        f"data/frames/.{gone}.resume",
        f"data/frames/{gone}",
    ]
    assert found["taken-in files of removed items"] == [f"data/raw/{gone}"]
    assert found["stages of removed items"] == [f"data/items/sources/{gone}"]
    assert len(found["cached bytes"]) == 4
    assert {"remembered runs", "lineage records", "logs", "pages of removed renders"} < found.keys()
    garbage.clear()
    assert waste() == {}
    assert Path(f"data/raw/{kept}/source.png").exists()
    assert {cache.cached(md5).exists() for md5 in garbage.needed_hashes(catalog.load())} == {
        True,
        False,  # the dep's, which was never kept
    }


def test_what_a_training_is_making_stays_until_it_is_removed(here):
    with catalog.edit() as items:
        items.add_training("ubc")
    made = ["data/encoded/ubc", "data/encoded/.ubc.partial", "data/trained/.ubc.resume"]
    made.append("data/trained/.ubc.resume.previews")
    for folder in made:
        write(f"{folder}/some.npy")
    assert not {path for waste in garbage.find() for path in waste.paths} & set(map(Path, made))
    with catalog.edit() as items:
        items.remove("encodings", "ubc")
    found = {path for waste in garbage.find() for path in waste.paths}
    assert found >= set(map(Path, made))
    assert {graph.item_folder(group, "ubc") for group in graph.BESIDE} <= found


def test_what_was_taken_in_today_stays(here):
    write("data/raw/new-00000000/source.png", old=False)
    write("data/runs/sample-x/log.txt", old=False)
    assert waste() == {}


@pytest.mark.parametrize("reached", ["branch", "tag", "nothing"])
def test_what_a_commit_needs_stays(here, reached):
    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "empty")
    git("checkout", "-q", "-b", "work")
    old = kept_bytes("old")
    committed = lock("sources", "anna-00000000", old)
    git("add", "-f", str(committed))
    git("commit", "-qm", "old")
    if reached == "tag":
        git("tag", "release")
    git("checkout", "-q", "main")
    if reached != "branch":
        git("branch", "-qD", "work")
    paths = waste().get("cached bytes", [])
    assert (str(cache.cached(old)) in paths) == (reached == "nothing")


def test_a_checkout_that_git_cannot_read_stops_it(here):
    (here / ".git").mkdir()
    kept_bytes("precious")
    with pytest.raises(InputError, match="git cannot say"):
        garbage.clear()
    assert len(list(cache.CACHE.glob("??/*"))) == 1


def test_the_command_shows_first(here, monkeypatch, capsys):
    path = cache.cached(kept_bytes("waste"))
    for arguments, said, there in (
        ([], "gc --yes", True),
        (["--yes"], "was removed", False),
        ([], "is needed", False),
    ):
        monkeypatch.setattr(sys, "argv", ["dreampose", "gc", *arguments])
        assert cli.main() == 0
        assert said in capsys.readouterr().out
        assert path.exists() == there


class TestCommits:
    @pytest.fixture
    def checkout(self, here, monkeypatch):
        for name, value in {"NAME": "a", "EMAIL": "a@b.c"}.items():
            monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
            monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
        git("init", "-q")
        (here / ".gitignore").write_text((workspace.HOME / ".gitignore").read_text())
        return here

    def test_only_what_says_how_is_committed(self, checkout):
        key = source("anna")
        write("mine.txt")
        git("add", "mine.txt")
        assert commits.commit("anna is new")
        assert set(git("ls-tree", "-r", "--name-only", "HEAD").split()) == {
            "data/.gitignore",
            "data/catalog.yaml",
            f"data/items/sources/{key}/dvc.yaml",
            f"data/items/sources/{key}/dvc.lock",
            f"data/raw/{key}/source.png.dvc",
        }
        assert git("diff", "--cached", "--name-only").split() == ["mine.txt"]
        assert not commits.commit("nothing is new")

    def test_many_at_once_lose_nothing(self, checkout):
        code = "import sys; from tasks import commits; commits.commit(sys.argv[1])"
        running = []
        for number in range(4):
            source(f"anna{number}")
            running.append(subprocess.Popen([sys.executable, "-c", code, str(number)]))
        assert [process.wait() for process in running] == [0] * 4
        assert git("status", "--porcelain", "data").strip() == ""

    def test_no_checkout_is_said(self, here):
        with pytest.raises(InputError, match="git cannot commit"):
            commits.commit("x")
