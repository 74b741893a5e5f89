"""Workspaces for tests, and no deadlines: a busy machine is no failure."""

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import chain
import hypothesis
import pytest

from tasks import graph, workspace

hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Toy models only lose by more threads, above all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def little_garbage() -> Iterator[None]:
    """A training ends with a garbage collection; what is imported by now need not be searched."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Folders of a tiny base, a subject and another's poses; for reading."""
    from world import make_world

    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    """A photo, a clip of another person and the true answer, named as users name files."""
    return chain.make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, files) -> Path:
    """A `tiny` workspace in which one whole run made `first.mp4`, a sheet and a page.

    What it said is in `first.txt`. The run knew secrets.
    """
    place = tmp_path_factory.mktemp("undisturbed") / "workspace"
    workspace.create(place, "tiny")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in chain.SECRETS.items():
            patch.setenv(name, value)
        extras = ("--sheet", files / "sheet.png", "--report", files / "report.html")
        text, ran = chain.animate(place, files, "first.mp4", *map(str, extras))
    assert ran == chain.STAGES
    (files / "first.txt").write_text(text)
    return place


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Makes a workspace with a graph and items of its own and enters it; more files by name."""

    def make(stages: str, items: Mapping[str, Mapping[str, Any]], **files: str) -> Path:
        empty = json.dumps([{group: {} for group in items}])
        (tmp_path / "dvc.yaml").write_text(f"vars: {empty}\n{stages}")
        (tmp_path / "params.yaml").write_text("{}\n")
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        for room in workspace.ROOMS:
            (tmp_path / room).symlink_to(workspace.HOME / room)
        (tmp_path / ".dvc").mkdir()
        (tmp_path / ".dvc/config").write_text((workspace.HOME / ".dvc/config").read_text())
        workspace.without_git(tmp_path)
        monkeypatch.chdir(tmp_path)
        graph.lay_out(items)
        return tmp_path

    return make
