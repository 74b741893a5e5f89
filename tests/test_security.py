"""What docs/security.md promises, each promise with its test; the hostile 200 are in test_fuzz."""

import ast
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_samples import noise_clip

from common.errors import InputError
from common.settings import Limits
from dreampose_core.extract import extract_frames
from flows import cli, server
from tasks import bridge, catalog, graph, inputs, lineage, parameters, workspace
from tasks.arguments import checked, typed
from tasks.graph import Address
from tasks.reading import read_yaml
from tasks.reproduce import reproduce

ECHO = """
stages:
  say:
    foreach: ${words}
    do: {cmd: "python say.py ${item.given}", outs: [said.txt]}
"""
SAY = "import pathlib, sys; pathlib.Path('said.txt').write_text(repr(sys.argv[1:]))"
HOSTILE_WORDS = [
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "' ; touch owned '",
    "a b",
    "*",
]
LEADING_OUT = ["/etc/passwd", "../x", "a/../../x", "~/x", "https://a.b/c", "--out=x", "-x"]


class TestNamesAndOverridesAreData:
    def test_a_value_reaches_the_program_as_one_word(self, toy):
        given = {f"key{number}": word for number, word in enumerate(HOSTILE_WORDS)}
        folder = toy(ECHO, {"words": {"a": {"given": given}}}, say=SAY)
        bridge.run_stage(Address("say", "a"))
        words = [word for key, value in given.items() for word in (f"--{key}", value)]
        assert (folder / "said.txt").read_text() == repr(words)
        assert not (folder / "owned").exists()

    @pytest.mark.parametrize("value", LEADING_OUT)
    def test_an_override_names_nothing_outside(self, value):
        with pytest.raises(InputError, match="leads out"):
            checked("base", {"source": value})

    @pytest.mark.parametrize("value", ["a\nb", "a\0b", "${files.base}", "https://me:word@host/x"])
    def test_no_setting_holds_a_line_end_a_template_or_a_password(self, value):
        with pytest.raises(InputError, match="password"):
            typed("base", {"source": value})

    @pytest.mark.parametrize("value", [None, [1], {"a": 1}])
    def test_a_setting_is_a_single_value(self, value):
        with pytest.raises(InputError, match="cannot be"):
            typed("sample", {"steps": value})

    @pytest.mark.parametrize(
        "text",
        [
            'bases: {b: {base: {"seed 1; touch owned #": 1}}}',
            "bases: {b: {base: {out: elsewhere}}}",
            "bases: {b: {base: {source: /etc}}}",
            "sources: {s: {input: data/raw/s/source, name: s, frames: {most_seconds: 0}}}",
        ],
    )
    def test_a_catalog_that_hands_edited_is_checked(self, text, tmp_path, monkeypatch):
        (tmp_path / "data").mkdir()
        (tmp_path / "dvc.yaml").symlink_to(workspace.HOME / "dvc.yaml")
        monkeypatch.chdir(tmp_path)
        catalog.CATALOG.write_text(text)
        with pytest.raises(InputError, match=r"no setting|leads out"):
            catalog.load()

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("s1:", '"s1 1; touch owned #":'),
            ("steps: 2", 'steps: "2; touch owned"'),
            ("seconds: 1200", 'seconds: "1; touch owned"'),
            ("frames: 72000", "frames: .nan"),
            ("megabytes: 4000 # of a file", ""),
            ("sample:", "simple:"),
        ],
    )
    def test_parameters_are_checked(self, old, new, tmp_path, monkeypatch):
        (tmp_path / "dvc.yaml").symlink_to(workspace.HOME / "dvc.yaml")
        monkeypatch.chdir(tmp_path)
        text = workspace.preset_path("tiny").read_text()
        parameters.PARAMETERS.write_text(text)
        parameters.load()
        parameters.PARAMETERS.write_text(text.replace(old, new))
        with pytest.raises(InputError):
            parameters.load()


@pytest.fixture
def here(toy):
    """An empty workspace with a photo in it."""
    folder = toy("stages: {}\n", {})
    (folder / "data").mkdir()
    (folder / "presets").symlink_to(workspace.HOME / "presets")
    shutil.copyfile(workspace.preset_path("mini"), "params.yaml")
    catalog.CATALOG.write_text(catalog.text(catalog.Catalog()))
    cv2.imwrite("photo.png", np.full((64, 48, 3), 90, np.uint8))
    return folder


class TestNothingOutsideTheWorkspace:
    @pytest.mark.parametrize(
        "name", ["data/videos", "data/raw/x/source.png", "data/items/subjects/s"]
    )
    def test_links_out_are_refused(self, here, tmp_path_factory, monkeypatch, capfd, name):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).symlink_to(tmp_path_factory.mktemp("outside"))
        monkeypatch.setattr("sys.argv", ["dreampose", "list"])
        assert cli.main() == 2
        assert f"{name} is a link out" in capfd.readouterr().err

    def test_links_inside_are_followed(self, here, monkeypatch):
        (here / "large").mkdir()
        (here / "data/videos").symlink_to(here / "large")
        monkeypatch.setattr("sys.argv", ["dreampose", "list"])
        assert cli.main() == 0

    def test_a_link_among_photos_is_refused(self, here, tmp_path):
        album = here / "album"
        album.mkdir()
        shutil.copyfile("photo.png", album / "a.png")
        (album / "b.png").symlink_to(here / "photo.png")
        with pytest.raises(InputError, match=r"b\.png is a link out"):
            inputs.probe(album, Limits())

    def test_a_lock_s_paths_stay_inside(self, toy):
        folder = toy(ECHO, {"words": {"a": {"given": {}}}}, say=SAY)
        lock = folder / "data/items/words/a/dvc.lock"
        entry = {"cmd": "x", "deps": [], "outs": [{"path": "../../precious", "md5": "0" * 32}]}
        lock.write_text(json.dumps({"schema": "2.0", "stages": {"say": entry}}))
        assert graph.locked([Address("say", "a")]) == {}

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (("lock", "outs", 0, "path"), "../../owned"),
            (("lock", "outs", 0, "path"), "/tmp/owned"),
            (("lock", "deps", 0, "path"), "../owned"),
            (("lock", "cmd"), 'python -c \'open("owned", "w")\''),
            (("lock", "cmd"), "sh -c 'touch owned'"),
            (("lock", "cmd"), "python -m http.server"),
            (("code",), {"commit": "--output=owned", "dirty": False}),
            (("files",), {"../owned": {"x": "0" * 32}}),
        ],
    )
    def test_a_record_that_leads_out_is_not_followed(self, toy, key, value):
        toy("stages: {}\n", {})
        Path("made.txt").write_text("made")
        Path("tasks").unlink()
        shutil.copytree(workspace.HOME / "tasks", "tasks")
        record = {
            "stage": "make@a",
            "lock": {
                "cmd": "python -m tasks.nothing",
                "deps": [{"path": "weights/w", "md5": "1" * 32}],
                "outs": [{"path": "made.txt", "md5": lineage.content_hash(Path("made.txt"))}],
            },
            "files": {},
            "code": None,
            "environment": None,
            "seconds": None,
        }
        part = record
        for name in key[:-1]:
            part = part[name]
        part[key[-1]] = value
        Path("weights").mkdir()
        Path("weights/w").write_text("w")
        record["lock"]["deps"][0]["md5"] = lineage.content_hash(Path("weights/w"))
        lineage.RECORDS.mkdir(parents=True)
        (lineage.RECORDS / "x.json").write_text(json.dumps(record))
        with pytest.raises(InputError):
            list(reproduce(Path("made.txt")))
        assert not list(Path.cwd().parent.rglob("owned"))

    def test_weights_outside_are_left_where_they_are(self, toy, tmp_path_factory):
        weights = tmp_path_factory.mktemp("outside") / "weights"
        weights.write_text("precious")
        toy("stages: {}\n", {})
        from tasks.reproduce import _place_input

        _place_input(str(weights), lineage.content_hash(weights), Path.cwd())
        assert weights.read_text() == "precious"
        with pytest.raises(InputError, match="no longer as it was"):
            _place_input(str(weights), "0" * 32, Path.cwd())

    @pytest.mark.parametrize(
        "text",
        [
            "ffconcat version 1.0\nfile clip.mp4\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
        ],
    )
    def test_a_playlist_opens_no_other_file(self, here, text):
        noise_clip(here / "clip.mp4")
        for name in ("list.m3u8", "list.ffconcat", "list.mp4"):
            Path(name).write_text(text)
            with pytest.raises(InputError, match="neither a photo nor a clip"):
                inputs.probe(here / name, Limits())


class TestYaml:
    @pytest.mark.parametrize(
        "text",
        [
            "!!python/object/apply:os.system [touch owned]",
            "a: !!python/name:os.system",
            "- " * 50_000 + "a",
            "{a: " * 50_000,
            "[" * 100_000,
            "\n".join(" " * depth + "a:" for depth in range(2000)),
            "a: " + "9" * 10_000,
            "a: 2001-99-99",
            "a: \0",
        ],
        ids=lambda text: text[:20],
    )
    def test_yaml_makes_plain_data_only(self, tmp_path, text):
        path = tmp_path / "x.yaml"
        path.write_text(text)
        with pytest.raises(InputError, match="damaged"):
            read_yaml(path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two seconds of 64×64 pixels."""
    return noise_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=50)


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "what"),
        [
            (Limits(most_megabytes=0.001), "megabytes"),
            (Limits(most_megapixels=0.004), "megapixels"),
            (Limits(most_seconds=1.5), "seconds"),
            (Limits(most_frames=49), "frames"),
        ],
    )
    def test_a_clip_over_a_limit_is_refused(self, clip, tmp_path, limits, what):
        with pytest.raises(InputError, match=rf"{what}.*limits\.{what} in params\.yaml"):
            extract_frames(clip, tmp_path / "out", limits=limits)
        assert not (tmp_path / "out").exists()

    def test_what_is_declared_is_refused_before_decoding(self, clip, monkeypatch):
        monkeypatch.setattr("dreampose_core.footage.Footage.frames", pytest.fail)
        for limits in (Limits(most_seconds=1.5), Limits(most_megapixels=0.004)):
            with pytest.raises(InputError):
                inputs.probe(clip, limits)

    def test_the_part_that_is_kept_counts(self, clip, tmp_path):
        limits = Limits(most_seconds=1.5, most_frames=25)
        assert extract_frames(clip, tmp_path / "out", end=1.0, limits=limits).count == 25

    def test_a_photo_is_measured_before_it_is_decoded(self, tmp_path):
        picture = cv2.imencode(".png", np.zeros((100, 100, 3), np.uint8))[1].tobytes()
        (tmp_path / "half.png").write_bytes(picture[:60])
        with pytest.raises(InputError, match=r"more than 0\.005 megapixels"):
            inputs.probe(tmp_path / "half.png", Limits(most_megapixels=0.005))

    def test_within_the_limits_nothing_is_refused(self, clip, tmp_path):
        limits = Limits(most_megabytes=1, most_megapixels=1, most_seconds=2, most_frames=50)
        assert extract_frames(clip, tmp_path / "out", limits=limits).count == 50


def calls() -> list[tuple[str, str, ast.Call]]:
    """File, called name and call of every call in the code that ships."""
    found = []
    for room in workspace.ROOMS:
        for path in (workspace.HOME / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    found.append((path.name, ast.unparse(node.func), node))
    return found


def test_no_file_is_read_as_code():
    """Every `torch.load` says weights_only; pickle, eval and shells are not used at all."""
    loads = 0
    for path, name, call in calls():
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name == "torch.load":
            loads += 1
            assert given.get("weights_only") == "True", path
        assert name not in ("pickle.load", "pickle.loads", "eval", "exec", "os.system", "os.popen")
        assert given.get("shell") is None, path
        assert given.get("allow_pickle") in (None, "False"), path
        if name.startswith("yaml.") and name.endswith("load"):
            assert ast.unparse(call.args[1]) == "yaml.CSafeLoader", path
    assert loads >= 2


def test_the_server_listens_to_this_machine_only(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(server, "start", lambda *words, output: started.append(words))
    monkeypatch.setenv("PREFECT_API_URL", "")
    server._start_server(4200, tmp_path)
    ((*_, option, host, _, _),) = started
    assert (option, host) == ("--host", "127.0.0.1")


@pytest.mark.slow
def test_no_secret_is_written_down(undisturbed, files):
    """Records, logs, locks, the server's database, the video: none holds what the run knew."""
    written = [path for root in (undisturbed, files) for path in root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written)
    for path in written:
        assert b"-4711" not in path.read_bytes(), path
