"""The `dreampose` command: what it refuses, and how files are taken in."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import InputError
from flows import cli
from tasks import catalog, graph, inputs, workspace


@pytest.fixture
def here(toy):
    folder = toy("stages: {}\n", {})
    (folder / "data").mkdir()
    (folder / "presets").symlink_to(workspace.HOME / "presets")
    (folder / "params.yaml").write_text("mine: 1\n")
    catalog.CATALOG.write_text(catalog.text(catalog.Catalog()))
    cv2.imwrite("photo.png", np.full((64, 48, 3), 90, np.uint8))
    (folder / "text.mp4").write_text("not a clip")
    (folder / "empty.mp4").touch()
    return folder


def dreampose(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dreampose", *arguments])
    return cli.main()


def test_the_same_bytes_are_taken_in_once(here):
    key, path = inputs.take_in(here / "photo.png")
    assert path == f"data/raw/{key}/source.png"
    odd = here / "Ünï $(id); 'x' (1).PNG"
    odd.write_bytes((here / "photo.png").read_bytes())
    assert inputs.take_in(odd) == (key, path)
    assert (here / f"{path}.dvc").exists()


def test_a_folder_of_photos_is_taken_in_once(here):
    for folder, names in (("one", "ba"), ("two", "dc")):
        (here / folder).mkdir()
        for level, name in enumerate(sorted(names)):
            picture = np.full((32, 32, 3), 50 * level, np.uint8)
            cv2.imwrite(str(here / folder / f"{name}; $(id).PNG"), picture)
    key, path = inputs.take_in(here / "one")
    assert path == f"data/raw/{key}/source"
    assert sorted(p.name for p in (here / path).iterdir()) == ["000.png", "001.png"]
    assert inputs.take_in(here / "two") == (key, path)
    assert (here / f"{path}.dvc").exists()


def test_any_name_is_taken_in(here):
    odd = here / "-- Ünï $(id); 'x' (1).P N G"
    odd.write_bytes((here / "photo.png").read_bytes())
    key, path = inputs.take_in(odd)
    assert key.startswith("uni-id-x-1-")
    assert path == f"data/raw/{key}/source"


def test_a_preset_replaces_the_parameters_and_keeps_the_users_own(here, monkeypatch, capsys):
    assert dreampose(monkeypatch, "use", "tiny") == 0
    tiny = (here / "presets/tiny.yaml").read_bytes()
    assert (here / "params.yaml").read_bytes() == tiny
    (kept,) = (here / "data").glob("params-*.yaml")
    assert kept.read_text() == "mine: 1\n"
    assert dreampose(monkeypatch, "use", "mini") == 0
    assert list((here / "data").glob("params-*.yaml")) == [kept]
    assert dreampose(monkeypatch, "use", "huge") == 2


def test_an_empty_workspace_is_listed(here, monkeypatch, capsys):
    assert dreampose(monkeypatch, "list") == 0
    assert dreampose(monkeypatch, "status") == 0
    assert "up to date" in capsys.readouterr().out


def test_an_item_is_shown_and_removed(here, monkeypatch, capsys):
    graph.GRAPH.write_text((workspace.HOME / "dvc.yaml").read_text())
    with catalog.edit() as items:
        key = items.add_source(*inputs.take_in(here / "photo.png"), "photo.png")
        subject = items.add_subject(key)
        items.add_render(subject, key)
    assert dreampose(monkeypatch, "show", f"source/{key}") == 0
    shown = capsys.readouterr().out
    assert "photo.png" in shown
    assert f"subject/{subject}" in shown
    assert "missing" in shown
    assert dreampose(monkeypatch, "rm", f"source/{key}") == 2
    assert "--users" in capsys.readouterr().err
    assert dreampose(monkeypatch, "rm", f"source/{key}", "--users") == 0
    assert catalog.load().renders == {}
    assert not graph.item_folder("sources", key).exists()
    assert graph.item_folder("bases", "default").exists()


def test_the_doctor_looks_at_everything(here, monkeypatch, capsys):
    (here / "params.yaml").write_text((workspace.HOME / "presets/mini.yaml").read_text())
    assert dreampose(monkeypatch, "doctor") == 0
    text = capsys.readouterr().out
    for subject in ("torch", "device", "ffmpeg", "weights/mini", "detectron2", "free disk"):
        assert subject in text


def test_workspaces_by_option_variable_and_place(here, tmp_path_factory, monkeypatch, capsys):
    new = tmp_path_factory.mktemp("elsewhere") / "a b"
    assert dreampose(monkeypatch, "init", str(new), "--preset", "tiny") == 0
    assert dreampose(monkeypatch, "init", str(new)) == 2
    assert "is not empty" in capsys.readouterr().err
    monkeypatch.chdir(new.parent)
    assert dreampose(monkeypatch, "list", "--workspace", "a b") == 0
    assert Path.cwd() == new
    monkeypatch.chdir("/")
    monkeypatch.setenv(workspace.VARIABLE, str(new))
    assert dreampose(monkeypatch, "list") == 0
    assert Path.cwd() == new
    monkeypatch.delenv(workspace.VARIABLE)
    (new / "data/raw/deep").mkdir(parents=True)
    monkeypatch.chdir(new / "data/raw/deep")
    assert dreampose(monkeypatch, "list") == 0
    assert Path.cwd() == new
    assert dreampose(monkeypatch, "list", "--workspace", "data") == 2
    assert "dreampose init data" in capsys.readouterr().err


def test_a_damaged_catalog_is_named(here, monkeypatch, capfd):
    catalog.CATALOG.write_text("sources: [")
    assert dreampose(monkeypatch, "list") == 2
    assert "data/catalog.yaml is damaged" in capfd.readouterr().err


def test_the_command_imports_neither_torch_nor_prefect():
    code = "import sys, flows.cli; sys.exit(bool({'torch', 'prefect', 'dvc'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=workspace.HOME).returncode == 0


def test_the_flows_do_not_import_torch():
    code = "import sys, flows.animate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=workspace.HOME).returncode == 0


def test_no_workspace_is_found_outside_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace, "HOME", tmp_path)
    with pytest.raises(InputError, match="no workspace"):
        workspace.find(tmp_path)


def test_poses_come_in_and_go_out(here, monkeypatch):
    one = np.zeros((2, 60, 40))
    one[:, 10:50, 10:30] = 0.4
    (here / "given").mkdir()
    np.save(here / "given/frame_0_densepose.npy", one)
    for way, source, out in (("import", "given", "poses"), ("export", "poses", "back")):
        with pytest.raises(SystemExit, match=r"^0$"):
            dreampose(monkeypatch, "poses", way, source, "--out", out)
    np.testing.assert_allclose(np.load(here / "back/frame_0_densepose.npy"), one, atol=1e-6)
    with pytest.raises(SystemExit, match=r"^2$"):
        dreampose(monkeypatch, "poses", "import", "photo.png", "--out", "none")
    assert not (here / "none").exists()
